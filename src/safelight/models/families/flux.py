"""Flux."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from safelight.models.families.family import INPAINT, TEXT, Family, pipeline_classes
from safelight.models.families.precision import FamilyPrecision
from safelight.models.families.references import References, Size
from safelight.plugins import Registry, hookimpl

FLUX = Family(
    key="flux",
    title="Flux",
    pipelines=pipeline_classes("FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline"),
    prediction_process="flow",
    precision=FamilyPrecision(
        denoiser=("bf16", "fp16"),
        text_encoders=("bf16",),
        vae=("bf16",),
        source="card: bf16; diffusers clips the transformer's activations to the range of fp16, not those of T5",
    ),
    text_encoders=("text_encoder", "text_encoder_2"),
    guidance="embedded",
    supports_negative=False,
    true_cfg=True,
    guidance_scale=3.5,
    latent_layout="packed",
)
FLUX_SCHNELL = replace(
    FLUX, variant="schnell", title="Flux schnell", guidance="none", steps=4, guidance_scale=1.0
)
FLUX_FILL = replace(
    FLUX,
    variant="fill",
    title="Flux Fill",
    pixel_masks=True,
    reads_masks=True,
    pipelines=pipeline_classes(inpaint="FluxFillPipeline"),
    true_cfg=False,
    guidance_scale=30.0,
)
KONTEXT_SIZES: tuple[Size, ...] = (
    *((672, 1568), (688, 1504), (720, 1456), (752, 1392), (800, 1328), (832, 1248), (880, 1184)),
    *((944, 1104), (1024, 1024), (1104, 944), (1184, 880), (1248, 832), (1328, 800), (1392, 752)),
    *((1456, 720), (1504, 688), (1568, 672)),
)
"""Width and height of the pictures that Kontext was trained on, as its authors published them."""


def kontext_size(picture: Size, _: object) -> Size:
    """The size on which Kontext was trained whose proportions are nearest to a picture's."""
    ratio = picture[0] / picture[1]
    return min(KONTEXT_SIZES, key=lambda size: (abs(ratio - size[0] / size[1]), size))


def _kontext_arguments(_: str, size: Size) -> Mapping[str, Any]:
    """What keeps the pipelines from choosing sizes themselves."""
    return {"max_area": size[0] * size[1], "_auto_resize": False}


FLUX_KONTEXT = replace(
    FLUX,
    variant="kontext",
    title="Flux Kontext",
    guidance_scale=2.5,
    references=References(
        pipelines=pipeline_classes("FluxKontextPipeline", None, "FluxKontextInpaintPipeline"),
        parameters={TEXT: "image", INPAINT: "image_reference"},
        default_size=kontext_size,
        fitted_size=kontext_size,
        arguments=_kontext_arguments,
    ),
)
"""Made to edit a picture that it is shown; without one it generates as Flux does."""


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture and its variants."""
    for family in (FLUX, FLUX_SCHNELL, FLUX_FILL, FLUX_KONTEXT):
        registry.register(family.name, family)
