"""Z-Image and Z-Image Turbo, whose files differ in nothing but their weights.

Published values: diffusers' defaults of ZImageTransformer2DModel; the schedulers are those of Tongyi-MAI's folders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from safelight.errors import CheckpointFamilyError
from safelight.models.checkpoints.layouts.flux import VAE_SLOT
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

AXES = {128: [32, 48, 48]}


def _config(shapes: Shapes) -> Config:
    head = needed(shapes, 0, "layers.0.attention.norm_q.weight")
    axes = AXES.get(head)
    return without_none(
        {
            "all_patch_size": [2],
            "all_f_patch_size": [1],
            "in_channels": needed(shapes, 1, "all_x_embedder.2-1.weight") // 4,
            "dim": needed(shapes, 0, "all_x_embedder.2-1.weight"),
            "n_layers": count_blocks(shapes, "layers."),
            "n_refiner_layers": count_blocks(shapes, "noise_refiner."),
            "n_heads": needed(shapes, 0, "layers.0.attention.to_q.weight") // head,
            "n_kv_heads": needed(shapes, 0, "layers.0.attention.to_k.weight") // head,
            "cap_feat_dim": needed(shapes, 0, "cap_embedder.0.weight"),
            "axes_dims": axes,
            "axes_lens": [1536, 512, 512] if axes else None,
        }
    )


Z_IMAGE_TRANSFORMER = NetworkLayout(
    name="z-image",
    title="a Z-Image transformer",
    role="denoiser",
    class_name="ZImageTransformer2DModel",
    own_keys=("x_embedder.weight",),
    library_keys=("all_x_embedder.2-1.weight",),
    fits=lambda shapes: "cap_pad_token" in shapes and "layers.0.adaLN_modulation.0.weight" in shapes,
    convert="convert_z_image_transformer_checkpoint_to_diffusers",
    config=_config,
    required=("axes_dims", "axes_lens"),
)


def _variant(shapes: Shapes, metadata: Mapping[str, str], name: str) -> str:
    """Turbo's weights have the same shapes; only the makers' note, or else the file's name, tells it.

    Raises:
        CheckpointFamilyError: It is Omni's transformer, which needs more than a file of Z-Image has.
    """
    if "siglip_embedder.0.weight" in shapes:
        raise CheckpointFamilyError(
            f"{name} has a transformer of Z-Image Omni, which is opened as a diffusers folder only.",
            hint="The folder also has the SigLIP 2 with which it looks at pictures.",
        )
    return "z-image-turbo" if "turbo" in declared(metadata, name) else "z-image"


def _latent_channels(shapes: Shapes) -> int | None:
    inputs = side(shapes, 1, "x_embedder.weight", "all_x_embedder.2-1.weight")
    return None if inputs is None else inputs // 4


LAYOUT = FamilyLayout(
    denoiser=Z_IMAGE_TRANSFORMER,
    slots=(
        replace(VAE_SLOT, wanted_width=_latent_channels),
        Slot(
            component="text_encoder",
            layouts=("qwen3",),
            usual_files=("qwen_3_4b.safetensors",),
            class_name="Qwen3Model",
            wanted_width=lambda shapes: side(shapes, 0, "cap_embedder.0.weight"),
            prefixes=("qwen3_4b", "text_encoder"),
            tokenizer="qwen3",
        ),
    ),
    variant=_variant,
    scheduler=lambda variant: flow_scheduler(
        shift=3.0 if variant == "z-image-turbo" else 6.0, use_dynamic_shifting=False
    ),
)
