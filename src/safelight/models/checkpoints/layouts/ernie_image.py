"""ERNIE-Image and its Turbo, whose files differ in nothing but their weights.

ComfyUI's files have the names of diffusers (``convert_ernie_image_transformer_checkpoint_to_diffusers`` takes off a
prefix only). Published values: diffusers' defaults of ErnieImageTransformer2DModel, Baidu's scheduler, and
transformers' defaults of Ministral3Config. Mistral's tokenizer does not come with Safelight.
"""

from __future__ import annotations

from dataclasses import replace

from safelight.models.checkpoints.layouts.flux2 import VAE_SLOT
from safelight.models.checkpoints.layouts.layout import (
    Config,
    FamilyLayout,
    NetworkLayout,
    Shapes,
    Slot,
    count_blocks,
    flow_scheduler,
    needed,
    side,
    without_none,
)

AXES = {128: [32, 48, 48]}


def _config(shapes: Shapes) -> Config:
    width = needed(shapes, 0, "x_embedder.proj.weight")
    head = side(shapes, 0, "layers.0.self_attention.norm_q.weight")
    patch = needed(shapes, 2, "x_embedder.proj.weight")
    return without_none(
        {
            "hidden_size": width,
            "num_attention_heads": width // head if head else None,
            "num_layers": count_blocks(shapes, "layers."),
            "ffn_hidden_size": needed(shapes, 0, "layers.0.mlp.gate_proj.weight"),
            "in_channels": needed(shapes, 1, "x_embedder.proj.weight"),
            "out_channels": needed(shapes, 0, "final_linear.weight") // patch**2,
            "patch_size": patch,
            "text_in_dim": _text_width(shapes),
            "rope_axes_dim": AXES.get(head or 0),
            "qk_layernorm": head is not None,
        }
    )


def _text_width(shapes: Shapes) -> int | None:
    """The width of the text embeddings; the transformer's own where it does not project them."""
    return side(shapes, 1, "text_proj.weight") or side(shapes, 0, "x_embedder.proj.weight")


LAYOUT = FamilyLayout(
    denoiser=NetworkLayout(
        name="ernie-image",
        title="an ERNIE-Image transformer",
        role="denoiser",
        class_name="ErnieImageTransformer2DModel",
        library_keys=("layers.0.adaLN_sa_ln.weight",),
        fits=lambda shapes: "layers.0.mlp.linear_fc2.weight" in shapes,
        config=_config,
        required=("num_attention_heads", "rope_axes_dim"),
    ),
    slots=(
        replace(
            VAE_SLOT,
            wanted_width=lambda shapes: (side(shapes, 1, "x_embedder.proj.weight") or 0) // 4,
        ),
        Slot(
            component="text_encoder",
            layouts=("ministral",),
            usual_files=("ministral-3-3b.safetensors",),
            wanted_width=_text_width,
            prefixes=("ministral", "text_encoder"),
            tokenizer="ministral",
        ),
    ),
    variant=lambda *_: "ernie-image",
    scheduler=lambda _: flow_scheduler(shift=3.0),
)
