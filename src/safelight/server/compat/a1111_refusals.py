"""What clients of A1111 and SD.Next may ask for in vain: refused by name, unless the value asks for nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from safelight.errors import FieldError

Test = Callable[[object], bool]


def _empty(value: object) -> bool:
    return value in (None, False, "", [], {}, 0)


def _any(_: object) -> bool:
    return True


def _only(*values: object) -> Test:
    return lambda value: value in values


def _not_above_zero(value: object) -> bool:
    return _empty(value) or (isinstance(value, int) and value <= 0)


HARMLESS: Mapping[str, Test] = MappingProxyType(
    {
        # Where pictures go: always into the gallery.
        "do_not_save_samples": _any,
        "do_not_save_grid": _any,
        "save_images": _any,
        "image_metadata": _only(True, None),
        # Without effect as long as another field does not ask for something.
        "s_tmin": _any,
        "s_tmax": _any,
        "refiner_switch_at": _any,
        "script_args": _any,
        "image_cfg_scale": _any,
        "disable_extra_networks": _any,
        "pag_adaptive": _any,
        "clip_skip_enabled": _any,
        "hr_force": _empty,
        # At these values the same as without the field.
        "s_noise": _only(1, None),
        "initial_noise_multiplier": _only(1, None),
        "seed_resize_from_w": _not_above_zero,
        "seed_resize_from_h": _not_above_zero,
        "hr_checkpoint_name": _only(None, "", "Use same checkpoint"),
        "vae_type": _only(None, "", "Full"),
        "token_merging_method": _only(None, "", "None"),
        "prompt_attention": _only(None, "", "native", "a1111"),
        "schedulers_timestep_spacing": _only(None, "", "default"),
        "schedulers_beta_schedule": _only(None, "", "default"),
        "schedulers_prediction_type": _only(None, "", "default"),
    }
)
"""Fields without anything behind them, and which of their values ask for nothing."""

SWITCHED: Mapping[str, str] = MappingProxyType(
    {
        "freeu_": "freeu_enabled",
        "hypertile_unet_": "hypertile_unet_enabled",
        "hypertile_vae_": "hypertile_vae_enabled",
        "hypertile_": "hypertile_unet_enabled",
        "teacache_": "teacache_enabled",
        "detailer_": "detailer_enabled",
    }
)
"""Beginnings of fields that count only where another one is on."""

REASONS: Mapping[str, str] = MappingProxyType(
    {
        "restore_faces": "There is no face restoration.",
        "tiling": "Pictures are not drawn as tiles.",
        "script_name": "There are no scripts.",
        "refiner_checkpoint": "There is no pass with another checkpoint.",
        "hr_checkpoint_name": "Both passes use one checkpoint.",
        "s_churn": "Samplers do not take churn.",
        "s_noise": "Samplers do not take s_noise.",
        "s_min_uncond": "Guidance is not left out by sigma; cfg_end ends it by steps.",
        "firstphase_width": "Give width and height of the first pass, and hr_resize_x and hr_resize_y.",
        "firstphase_height": "Give width and height of the first pass, and hr_resize_x and hr_resize_y.",
        "latent_mask": "Give mask.",
        "infotext": "Send the fields themselves; /sdapi/v1/png-info reads them.",
        "seed_resize_from_w": "Noise is not resized.",
        "seed_resize_from_h": "Noise is not resized.",
    }
)


def check_extras(extras: Mapping[str, object]) -> None:
    """See that fields which nothing is done with ask for nothing.

    Args:
        extras: Fields by name.

    Raises:
        FieldError: One does.
    """
    for name, value in extras.items():
        switch = next((switch for start, switch in SWITCHED.items() if name.startswith(start)), name)
        if switch != name and _empty(extras.get(switch)):
            continue
        if not HARMLESS.get(name, _empty)(value):
            shown = name if name.isascii() else ascii(name)
            reason = REASONS.get(name, "Nothing of Safelight's is behind this field.")
            raise FieldError(f"{shown}: {reason}", field=name, hint="Leave the field out.")


def check_scripts(scripts: Mapping[str, object]) -> None:
    """See that all scripts are switched off, as clients send those they know of.

    Args:
        scripts: ``alwayson_scripts``: {"args": […]} by name.

    Raises:
        FieldError: One is on.
    """
    for name, given in scripts.items():
        arguments = given.get("args") if isinstance(given, Mapping) else given
        if not _off(arguments):
            raise FieldError(
                f"alwayson_scripts: there is no script {name!r}.",
                field="alwayson_scripts",
                hint="/sdapi/v1/scripts lists what there is: none.",
            )


def _off(arguments: object) -> bool:
    """No arguments, a first one that is False, or units that are all switched off."""
    given = list(arguments.values()) if isinstance(arguments, Mapping) else arguments
    if not isinstance(given, list):
        return _empty(given)
    return not given or given[0] is False or all(_switched_off(unit) for unit in given)


def _switched_off(unit: object) -> bool:
    return isinstance(unit, Mapping) and any(unit.get(key) is False for key in ("enabled", "enable"))
