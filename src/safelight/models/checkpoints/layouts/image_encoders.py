"""Image encoders: CLIP's and SigLIP's vision transformers, as transformers saves them, alone or with a text encoder.

Published values: transformers' defaults, and the configs of OpenAI's, LAION's and Google's folders.
"""

from __future__ import annotations

import math

from safelight.models.checkpoints.layouts.layout import (
    Config,
    NetworkLayout,
    Shapes,
    Tensors,
    count_blocks,
    divided,
    needed,
    side,
)

_WRAPPER = "vision_model."
_PATCHES = "embeddings.patch_embedding.weight"
_PROJECTION = "visual_projection.weight"
_HEADS_OF_WIDTH = {1280: 16, 1664: 16}
"""Of ViT-H and ViT-bigG; the heads of others are 64 wide."""
_SIGLIP_HEADS = {1152: 16}
_SIDES = {378: 384}
"""Of pictures that are no multiple of the patches, by the side of all patches: SigLIP's SO400M leaves a rim out."""


def _config(shapes: Shapes, prefix: str) -> Config:
    width, patch = (needed(shapes, axis, f"{prefix}{_PATCHES}") for axis in (0, 2))
    places = needed(shapes, 0, f"{prefix}embeddings.position_embedding.weight")
    has_class = f"{prefix}embeddings.class_embedding" in shapes
    inner = math.isqrt(places - has_class) * patch
    return {
        "hidden_size": width,
        "intermediate_size": needed(shapes, 0, f"{prefix}encoder.layers.0.mlp.fc1.weight"),
        "num_hidden_layers": count_blocks(shapes, f"{prefix}encoder.layers."),
        "patch_size": patch,
        "image_size": _SIDES.get(inner, inner),
    }


def _clip_config(shapes: Shapes) -> Config:
    config, projected = _config(shapes, _WRAPPER), needed(shapes, 0, _PROJECTION)
    width = config["hidden_size"]
    return config | {
        "projection_dim": projected,
        "num_attention_heads": _HEADS_OF_WIDTH.get(width) or divided(width, 64),
        "hidden_act": "quick_gelu" if projected in (512, 768) else "gelu",  # OpenAI's, and LAION's
    }


def _siglip_config(shapes: Shapes) -> Config:
    config = _config(shapes, "")
    width = config["hidden_size"]
    return config | {
        "num_attention_heads": _SIGLIP_HEADS.get(width) or divided(width, 64),
        "vision_use_head": "head.probe" in shapes,
    }


def _without_wrapper(tensors: Tensors) -> Tensors:
    return {
        name.removeprefix(_WRAPPER): tensor for name, tensor in tensors.items() if name.startswith(_WRAPPER)
    }


CLIP_VISION = NetworkLayout(
    name="clip-vision",
    title="a CLIP image encoder",
    role="image encoder",
    class_name="CLIPVisionModelWithProjection",
    library="transformers",
    library_keys=(f"{_WRAPPER}{_PATCHES}",),
    fits=lambda shapes: _PROJECTION in shapes and f"{_WRAPPER}embeddings.class_embedding" in shapes,
    config=_clip_config,
    required=("num_attention_heads",),
)
SIGLIP_VISION = NetworkLayout(
    name="siglip-vision",
    title="a SigLIP image encoder",
    role="image encoder",
    class_name="SiglipVisionModel",
    library="transformers",
    own_keys=(f"{_WRAPPER}{_PATCHES}",),
    library_keys=(_PATCHES,),
    fits=lambda shapes: not any(name.endswith("embeddings.class_embedding") for name in shapes),
    convert=_without_wrapper,
    config=_siglip_config,
    required=("num_attention_heads",),
)
IMAGE_ENCODERS = (CLIP_VISION, SIGLIP_VISION)


def describe_image_encoder(shapes: Shapes) -> tuple[str, int, int, int] | None:
    """What image encoder a file's tensors are; None if they are none.

    Returns:
        Its layout, the width of its features, that of its embedding (0 without one), and the side of its pictures in
        pixels.
    """
    if not any(name.endswith(_PATCHES) for name in shapes):
        return None
    layout = next((each.name for each in IMAGE_ENCODERS if each.matches(shapes)), None)
    if layout is None:
        return None
    try:
        config = _config(shapes, _WRAPPER if f"{_WRAPPER}{_PATCHES}" in shapes else "")
    except (KeyError, ValueError):
        return None
    return layout, config["hidden_size"], side(shapes, 0, _PROJECTION) or 0, config["image_size"]
