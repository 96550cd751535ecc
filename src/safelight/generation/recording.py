"""From a settled request to the record of one picture."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import torch
from PIL import Image

from safelight.generation.prompts.unsupported import left_out_notes
from safelight.generation.record import CheckpointRef, Machine, ReproductionRecord, Versions, pixels_digest
from safelight.generation.request import Mode
from safelight.generation.settle import Settled, Words
from safelight.generation.sigmas import AUTOMATIC


def record_of(
    settled: Settled,
    index: int,
    words: Words,
    checkpoint: CheckpointRef,
    machine: Machine,
    init: Image.Image | None,
    mask: Image.Image | None,
    notes: tuple[str, ...],
    *,
    upscaler: str | None = None,
    batched: bool = False,
) -> ReproductionRecord:
    """The record of picture `index` of a request.

    Args:
        settled: What was drawn.
        index: Which picture of the batch, from 0.
        words: Its prompts, filled in.
        checkpoint: Which weights drew.
        machine: What they ran on.
        init: The initial picture, decoded.
        mask: The mask, decoded.
        notes: What the user should know beside the request's own notes.
        upscaler: Digest of the network that enlarged between two passes.
        batched: Whether part of it was computed together with other pictures.
    """
    request = settled.request
    variation = request.variation
    if variation is not None:
        variation = variation.of(index)
    inpainting = request.mode is Mode.INPAINT
    return ReproductionRecord(
        versions=versions(),
        machine=machine,
        batched=batched,
        mode=request.mode,
        checkpoint=checkpoint,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        styles=request.styles,
        expanded_prompt=words.prompt,
        expanded_negative_prompt=words.negative_prompt,
        left_out=words.left_out,
        seed=settled.seed_of(index),
        variation=variation,
        width=settled.width,
        height=settled.height,
        steps=settled.steps,
        sampler=settled.choice.sampler.name,
        schedule=None if settled.choice.schedule == AUTOMATIC else settled.choice.schedule,
        eta=settled.eta,
        guidance_scale=settled.guidance_scale,
        guidance_rescale=request.guidance_rescale,
        guidance_start=request.guidance_start,
        guidance_end=request.guidance_end,
        guidance_method=request.guidance_method,
        pag_scale=request.pag_scale,
        pag_adaptive=request.pag_adaptive,
        clip_skip=request.clip_skip,
        init_image=None if init is None else pixels_digest(np.asarray(init)),
        mask=None if mask is None else pixels_digest(np.asarray(mask)),
        strength=settled.strength,
        inpaint=request.inpaint if inpainting else None,
        outpaint=request.outpaint,
        hires=request.hires,
        upscaler=upscaler,
        notes=(*left_out_notes(words.left_out), *settled.notes, *notes),
    )


def versions() -> Versions:
    """The programs that draw here."""
    return Versions(
        safelight=version("safelight"),
        torch=torch.__version__,
        diffusers=version("diffusers"),
        transformers=version("transformers"),
    )
