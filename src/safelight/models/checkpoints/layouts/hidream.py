"""HiDream-I1: full, Dev and Fast, whose files differ in nothing but their weights.

Published values: the config of HiDream-ai's folders. The authors' names are those of diffusers. Llama 3.1's tokenizer
does not come with Safelight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from safelight.models.checkpoints.layouts.flux import T5_FILES, VAE_SLOT
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


def _config(shapes: Shapes) -> Config:
    width = needed(shapes, 0, "x_embedder.proj.weight")
    double = count_blocks(shapes, "double_stream_blocks.")
    single = count_blocks(shapes, "single_stream_blocks.")
    published = width == 2560
    projections = count_blocks(shapes, "caption_projection.")
    last = double + single - 1
    return without_none(
        {
            "patch_size": 2,
            "in_channels": needed(shapes, 1, "x_embedder.proj.weight") // 4,
            "out_channels": needed(shapes, 0, "final_layer.linear.weight") // 4,
            "num_layers": double,
            "num_single_layers": single,
            "attention_head_dim": 128 if published else None,
            "num_attention_heads": 20 if published else None,
            "caption_channels": [
                needed(shapes, 1, f"caption_projection.{projections - 1}.linear.weight"),
                needed(shapes, 1, "caption_projection.0.linear.weight"),
            ],
            "text_emb_dim": needed(shapes, 1, "p_embedder.pooled_embedder.linear_1.weight"),
            "num_routed_experts": count_blocks(shapes, "double_stream_blocks.0.block.ff_i.experts."),
            "num_activated_experts": 2,
            "axes_dims_rope": [64, 32, 32] if published else None,
            "max_resolution": [128, 128] if published else None,
            # each block reads the layer of its number, those after the last layer read it again
            "llama_layers": [min(layer, 31) for layer in range(last + 1)] if published else None,
        }
    )


def _variant(_: Shapes, metadata: Mapping[str, str], name: str) -> str:
    words = declared(metadata, name)
    return next((f"hidream-{each}" for each in ("fast", "dev") if each in words), "hidream")


def _scheduler(variant: str) -> Config:
    if variant == "hidream":
        flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
        return {"_class_name": "UniPCMultistepScheduler", "num_train_timesteps": 1000, **flow}
    return flow_scheduler(shift=6.0 if variant == "hidream-dev" else 3.0) | {
        "_class_name": "FlowMatchLCMScheduler"
    }


def _clip(component: str, kind: str, prefix: str, other: str) -> Slot:
    return Slot(
        component=component,
        layouts=(kind,),
        usual_files=(f"{prefix}_hidream.safetensors",),
        class_name="CLIPTextModelWithProjection",
        prefixes=(prefix, component),
        tokenizer="clip" if kind == "clip" else "open-clip",
        names=(f"{prefix}_hidream",),
        other_names=(other, f"{prefix}."),
    )


LAYOUT = FamilyLayout(
    denoiser=NetworkLayout(
        name="hidream",
        title="a HiDream transformer",
        role="denoiser",
        class_name="HiDreamImageTransformer2DModel",
        library_keys=("double_stream_blocks.0.block.adaLN_modulation.1.bias",),
        config=_config,
        required=("attention_head_dim", "axes_dims_rope", "max_resolution", "llama_layers"),
    ),
    slots=(
        replace(
            VAE_SLOT,
            wanted_width=lambda shapes: (side(shapes, 1, "x_embedder.proj.weight") or 0) // 4,
        ),
        _clip("text_encoder", "clip", "clip_l", "clip_g"),
        _clip("text_encoder_2", "open-clip", "clip_g", "clip_l"),
        Slot(
            component="text_encoder_3",
            layouts=("t5",),
            usual_files=T5_FILES,
            prefixes=("t5xxl", "text_encoder_3"),
            tokenizer="t5-512",
        ),
        Slot(
            component="text_encoder_4",
            layouts=("llama",),
            usual_files=("llama_3.1_8b_instruct_fp8_scaled.safetensors",),
            wanted_width=lambda shapes: side(shapes, 1, "caption_projection.0.linear.weight"),
            prefixes=("llama", "text_encoder_4"),
            tokenizer="llama",
        ),
    ),
    variant=_variant,
    scheduler=_scheduler,
)
