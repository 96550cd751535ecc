"""Kolors: Stable Diffusion XL's U-Net, with a projection of the embeddings of its text encoder, ChatGLM3.

ComfyUI's files have the names of diffusers, or those of the original Stable Diffusion code with the projection as in
diffusers. Published values: Kwai's folder. ChatGLM3's tokenizer does not come with Safelight.
"""

from __future__ import annotations

from safelight.models.checkpoints.layouts.layout import FamilyLayout, Shapes, Slot, side
from safelight.models.checkpoints.layouts.stable_diffusion import betas, unet, unet_vae, unet_variant


def _text_width(shapes: Shapes) -> int | None:
    return side(shapes, 1, "encoder_hid_proj.weight")


LAYOUT = FamilyLayout(
    denoiser=unet("kolors", "a Kolors U-Net", lambda shapes: "encoder_hid_proj.weight" in shapes),
    slots=(
        unet_vae(1024, 0.13025, "xl"),
        Slot(
            component="text_encoder",
            layouts=("chatglm",),
            usual_files=("chatglm3-fp16.safetensors",),
            wanted_width=_text_width,
            prefixes=("chatglm", "text_encoder"),
            tokenizer="chatglm",
        ),
    ),
    variant=unet_variant("kolors", ()),
    scheduler=lambda _: betas(
        "EulerDiscreteScheduler",
        beta_end=0.014,
        num_train_timesteps=1100,
        interpolation_type="linear",
        timestep_spacing="leading",
    ),
    options=lambda _: {"force_zeros_for_empty_prompt": False},
)
