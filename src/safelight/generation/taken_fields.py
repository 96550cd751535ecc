"""Which fields of a request a family takes, for forms that leave out the others."""

from __future__ import annotations

from safelight.models.families import Family


def fields_not_taken(family: Family) -> tuple[str, ...]:
    """The fields of a request that a plan refuses for every checkpoint of a family."""
    taken = {
        "clip_skip": family.clip_skip,
        "pag_scale": family.pag is not None,
        "token_merging": family.denoiser == "unet",
        "true_cfg_scale": family.true_cfg,
        "seamless": family.denoiser == "unet",
        "inpaint.soft": not family.reads_masks,
    }
    return tuple(name for name, is_taken in taken.items() if not is_taken)
