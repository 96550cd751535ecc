"""Flux.2 dev and Flux.2 klein.

Published values: diffusers' defaults of Flux2Transformer2DModel and scripts/convert_flux2_to_diffusers.py. klein has
no guidance embedding and reads Qwen3; its distilled weights have the shapes of the base.
"""

from __future__ import annotations

from collections.abc import Mapping

from safelight.models.checkpoints.layouts.layout import (
    Config,
    FamilyLayout,
    NetworkLayout,
    Shapes,
    Slot,
    count_blocks,
    declared,
    flow_scheduler,
    needed,
    side,
    without_none,
)

AXES = {128: [32, 32, 32, 32]}


def _config(shapes: Shapes) -> Config:
    head = needed(shapes, 0, "transformer_blocks.0.attn.norm_q.weight")
    width = needed(shapes, 0, "x_embedder.weight")
    return without_none(
        {
            "patch_size": 1,
            "in_channels": needed(shapes, 1, "x_embedder.weight"),
            "num_layers": count_blocks(shapes, "transformer_blocks."),
            "num_single_layers": count_blocks(shapes, "single_transformer_blocks."),
            "attention_head_dim": head,
            "num_attention_heads": width // head,
            "joint_attention_dim": needed(shapes, 1, "context_embedder.weight"),
            "timestep_guidance_channels": needed(
                shapes, 1, "time_guidance_embed.timestep_embedder.linear_1.weight"
            ),
            "mlp_ratio": needed(shapes, 1, "transformer_blocks.0.ff.linear_out.weight") / width,
            "guidance_embeds": _has_guidance(shapes),
            "axes_dims_rope": AXES.get(head),
        }
    )


def _has_guidance(shapes: Shapes) -> bool:
    return any(name.startswith(("guidance_in.", "time_guidance_embed.guidance_embedder.")) for name in shapes)


def _transformer(name: str, title: str, *, guided: bool) -> NetworkLayout:
    return NetworkLayout(
        name=name,
        title=title,
        role="denoiser",
        class_name="Flux2Transformer2DModel",
        own_keys=("single_stream_modulation.lin.weight",),
        library_keys=("single_stream_modulation.linear.weight",),
        fits=lambda shapes: _has_guidance(shapes) is guided,
        convert="convert_flux2_transformer_checkpoint_to_diffusers",
        config=_config,
        required=("axes_dims_rope",),
    )


def _text_width(shapes: Shapes) -> int | None:
    """The width of one of the text encoder's three layers that are read side by side."""
    whole = side(shapes, 1, "txt_in.weight", "context_embedder.weight")
    return None if whole is None else whole // 3


def _latent_channels(shapes: Shapes) -> int | None:
    inputs = side(shapes, 1, "img_in.weight", "x_embedder.weight")
    return None if inputs is None else inputs // 4


VAE_SLOT = Slot(
    component="vae",
    layouts=("flux2-vae",),
    usual_files=("flux2-vae.safetensors",),
    wanted_width=_latent_channels,
)


def _klein_variant(_: Shapes, metadata: Mapping[str, str], name: str) -> str:
    """Only "base" in the makers' note, or else in the file's name, tells the base from the distilled model."""
    return "flux2-klein" if "base" in declared(metadata, name) else "flux2-klein-distilled"


def _scheduler(_: str) -> Config:
    return flow_scheduler(
        base_image_seq_len=256,
        base_shift=0.5,
        max_image_seq_len=4096,
        max_shift=1.15,
        shift=3.0,
        use_dynamic_shifting=True,
    )


DEV = FamilyLayout(
    denoiser=_transformer("flux2", "a Flux.2 transformer", guided=True),
    slots=(
        VAE_SLOT,
        Slot(
            component="text_encoder",
            layouts=("mistral",),
            usual_files=("mistral_3_small_flux2_bf16.safetensors",),
            wanted_width=_text_width,
            prefixes=("mistral", "text_encoder"),
            tokenizer="mistral",
        ),
    ),
    variant=lambda *_: "flux2",
    scheduler=_scheduler,
)
KLEIN = FamilyLayout(
    denoiser=_transformer("flux2-klein", "a Flux.2 klein transformer", guided=False),
    slots=(
        VAE_SLOT,
        Slot(
            component="text_encoder",
            layouts=("qwen3",),
            usual_files=("qwen_3_4b.safetensors", "qwen_3_8b.safetensors"),
            class_name="Qwen3ForCausalLM",
            wanted_width=_text_width,
            prefixes=("qwen3", "text_encoder"),
            tokenizer="qwen3",
        ),
    ),
    variant=_klein_variant,
    scheduler=_scheduler,
    options=lambda variant: {"is_distilled": variant == "flux2-klein-distilled"},
)

LAYOUTS = (DEV, KLEIN)
