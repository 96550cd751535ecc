"""Generate one small image with any diffusers pipeline in two steps."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from PIL import Image

from safelight.models.families import INPAINT, TEXT, Family

SIDE, STEPS = 64, 2
INIT_IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8))
MASK = Image.fromarray(np.tile(np.repeat(np.uint8([0, 255]), SIDE // 2), (SIDE, 1)))


def guidance(family: Family, scale: float) -> dict[str, float]:
    """The guidance scale, for ``generate_array``."""
    return {family.guidance_parameter or "scale": scale}


def generate_array(pipeline: Any, family: Family, mode: str, **overrides: Any) -> np.ndarray:
    """Generate an image: float [64, 64, 3]; its latents with ``output_type="latent"``."""
    accepted = inspect.signature(pipeline.__call__).parameters
    wanted: dict[str, Any] = {"height": SIDE, "width": SIDE, "strength": 1.0, **family.call_arguments}
    if "text_encoder_out_layers" in accepted:  # Flux.2's text encoders have many layers
        wanted["max_sequence_length"] = 64
    if mode != TEXT or (family.references is not None and family.references.required):
        wanted["image"] = INIT_IMAGE
    if mode == INPAINT:
        wanted["mask_image"] = MASK
    family.prepare(pipeline, SIDE, SIDE, overrides.pop("scale", 3.0))
    arguments = {name: value for name, value in wanted.items() if name in accepted} | overrides
    generator = torch.Generator().manual_seed(7)
    common = {"prompt": "red", "num_inference_steps": STEPS, "generator": generator, "output_type": "np"}
    return np.asarray(pipeline(**common | arguments, return_dict=False)[0][0])
