"""IP-Adapters as files: what the names and shapes of their tensors say. No weights are read, and no torch is imported.

An IP-Adapter projects what an image encoder makes of a picture to a few tokens (``image_proj.…``), and has a key and a
value of its own for each attention layer that sees them (``ip_adapter.…``). Layouts: that of its authors, which
diffusers reads too, for U-Nets, Flux and Stable Diffusion 3; and that of XLabs for Flux.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from safelight.models.checkpoints.layouts.layout import Shapes, side
from safelight.models.checkpoints.safetensors_header import TensorEntry

PROJECTION, LAYERS = "image_proj.", "ip_adapter."
"""Before the names of both parts."""
_XLABS_PROJECTION = "ip_adapter_proj_model."
_XLABS_LAYER = re.compile(
    r"double_blocks\.(\d+)\.processor\.ip_adapter_double_stream_([kv])_proj\.(weight|bias)"
)
_FAMILIES: Mapping[int, str] = MappingProxyType({768: "sd1", 1024: "sd2", 2048: "sdxl"})
"""U-Nets by the width of the text embeddings, which is that of an adapter's tokens."""
_FACE_WIDTH = 512
"""Of what InsightFace's networks make of a face."""
FACE_REASON = (
    "is a FaceID adapter, which needs InsightFace's networks; their licence forbids commercial use, "
    "so Safelight does not use them"
)
_INSTANTX_REASON = "is in a layout for Flux that diffusers does not read"


@dataclass(frozen=True)
class EncoderNeed:
    """The image encoder that an adapter was trained with.

    Args:
        layout: The name of its layout.
        output: What is read of it: the embedding of the whole picture, or the features of its patches.
        width: The width of that.
    """

    layout: Literal["clip-vision", "siglip-vision"]
    output: Literal["embedding", "features"]
    width: int


@dataclass(frozen=True)
class IPAdapterFile:
    """What a file with an IP-Adapter holds.

    Args:
        architecture: Its name in ``architectures.ARCHITECTURES``.
        family: The family that it is for; empty for a U-Net of unusual size.
        encoder: Its image encoder.
        tokens: The width of its tokens.
        reason: Why it cannot be used, as the end of a sentence that begins with its name; empty if it can.
    """

    architecture: str
    family: str
    encoder: EncoderNeed
    tokens: int
    reason: str = ""


def own_name(name: str) -> str:
    """A tensor's name in the authors' layout."""
    if name.startswith(_XLABS_PROJECTION):
        return PROJECTION + name.removeprefix(_XLABS_PROJECTION)
    if found := _XLABS_LAYER.fullmatch(name):
        return f"{LAYERS}{found[1]}.to_{found[2]}_ip.{found[3]}"
    return name


def own_shapes(tensors: Mapping[str, TensorEntry]) -> Shapes:
    """The shapes of a file's tensors, by their names in the authors' layout."""
    return {own_name(name): entry.shape for name, entry in tensors.items()}


def describe_ip_adapter(tensors: Mapping[str, TensorEntry]) -> IPAdapterFile | None:
    """What kind of IP-Adapter a file's tensors are; None if they are none."""
    shapes = own_shapes(tensors)
    widths = [
        shape[1]
        for name, shape in shapes.items()
        if name.startswith(LAYERS) and name.endswith(".to_k_ip.weight") and len(shape) == 2
    ]
    if not widths:
        return None
    tokens = widths[0]
    if f"{PROJECTION}time_embedding.linear_1.weight" in shapes:
        architecture, family = "sd3-ip-adapter", "sd3"
    elif any(name.endswith(".to_k_ip.bias") for name in shapes):
        architecture, family = "flux-ip-adapter", "flux"
    else:
        architecture, family = "ip-adapter", _FAMILIES.get(tokens, "")
    reason = _unusable(shapes)
    encoder = _encoder(shapes, architecture)
    if encoder is None:
        if not reason:
            return None
        encoder = EncoderNeed("clip-vision", "embedding", 0)
    return IPAdapterFile(architecture, family, encoder, tokens, reason)


def _unusable(shapes: Shapes) -> str:
    faces = f"{PROJECTION}perceiver_resampler.proj_in.weight" in shapes
    if faces or any(".to_k_lora." in name for name in shapes):
        return FACE_REASON
    if side(shapes, 0, f"{PROJECTION}proj.2.weight") and f"{PROJECTION}norm.weight" in shapes:
        width = side(shapes, 1, f"{PROJECTION}proj.0.weight")
        return FACE_REASON if width == _FACE_WIDTH else _INSTANTX_REASON
    return ""


def _encoder(shapes: Shapes, architecture: str) -> EncoderNeed | None:
    """The image encoder, from the projection's input; None for another projection than diffusers has."""
    if architecture == "sd3-ip-adapter":
        width = side(shapes, 1, f"{PROJECTION}proj_in.weight")
        return EncoderNeed("siglip-vision", "features", width) if width else None
    if width := side(shapes, 1, f"{PROJECTION}proj.weight"):
        return EncoderNeed("clip-vision", "embedding", width)
    if architecture == "ip-adapter" and f"{PROJECTION}latents" in shapes:  # plus
        width = side(shapes, 1, f"{PROJECTION}proj_in.weight")
        return EncoderNeed("clip-vision", "features", width) if width else None
    if architecture == "ip-adapter" and f"{PROJECTION}proj.3.weight" in shapes:  # full
        width = side(shapes, 1, f"{PROJECTION}proj.0.weight")
        return EncoderNeed("clip-vision", "features", width) if width else None
    return None
