"""Chroma: Flux with the modulation distilled into one small network, and T5 as its only text encoder.

Published values: diffusers' defaults of ChromaTransformer2DModel; scheduler as Flux-dev's (diffusers' documentation of
the pipeline builds it from that folder).
"""

from __future__ import annotations

from safelight.models.checkpoints.layouts.flux import (
    T5_SLOT_512,
    VAE_SLOT,
    dev_scheduler,
    flux_config,
    split_single_blocks,
)
from safelight.models.checkpoints.layouts.layout import (
    Config,
    FamilyLayout,
    NetworkLayout,
    Shapes,
    count_blocks,
    needed,
)


def _config(shapes: Shapes) -> Config:
    return flux_config(shapes) | {
        # in_proj reads the timestep, the guidance and twice as many channels for the layer's index
        "approximator_num_channels": needed(shapes, 1, "distilled_guidance_layer.in_proj.weight"),
        "approximator_hidden_dim": needed(shapes, 0, "distilled_guidance_layer.in_proj.weight"),
        "approximator_layers": count_blocks(shapes, "distilled_guidance_layer.layers."),
    }


CHROMA_TRANSFORMER = NetworkLayout(
    name="chroma",
    title="a Chroma transformer",
    role="denoiser",
    class_name="ChromaTransformer2DModel",
    own_keys=("distilled_guidance_layer.norms.0.scale",),
    library_keys=("distilled_guidance_layer.norms.0.weight",),
    convert=lambda tensors: split_single_blocks(
        tensors, "convert_chroma_transformer_checkpoint_to_diffusers"
    ),
    config=_config,
    required=("axes_dims_rope",),
)

LAYOUT = FamilyLayout(
    denoiser=CHROMA_TRANSFORMER,
    slots=(VAE_SLOT, T5_SLOT_512),
    variant=lambda *_: "chroma",
    scheduler=dev_scheduler,
)
