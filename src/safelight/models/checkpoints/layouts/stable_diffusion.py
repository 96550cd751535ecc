"""Stable Diffusion 1, 2, XL and its refiner: U-Nets.

Published values: the folders of runwayml and stabilityai, and diffusers' scripts/convert_from_ckpt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from safelight.errors import CheckpointFamilyError
from safelight.models.checkpoints.layouts.layout import (
    Config,
    FamilyLayout,
    NetworkLayout,
    Shapes,
    Slot,
    Tensors,
    Variant,
    count_blocks,
    declared,
    needed,
    side,
    without_none,
)

_INPUT = ("input_blocks.0.0.weight", "conv_in.weight")
_OUTPUT = ("out.2.weight", "conv_out.weight")


def context_width(shapes: Shapes) -> int | None:
    """The width of the text embeddings that a U-Net's cross-attention reads."""
    keys = (shape for name, shape in shapes.items() if name.endswith("attn2.to_k.weight"))
    return next((shape[1] for shape in keys if len(shape) == 2), None)


def unet_config(shapes: Shapes) -> Config:
    """The config of a U-Net, from diffusers' names."""
    blocks = count_blocks(shapes, "down_blocks.")
    widths = [needed(shapes, 0, f"down_blocks.{block}.resnets.0.conv1.weight") for block in range(blocks)]
    depths = [
        count_blocks(shapes, f"down_blocks.{block}.attentions.0.transformer_blocks.")
        for block in range(blocks)
    ]
    middle = count_blocks(shapes, "mid_block.attentions.0.transformer_blocks.")
    linear = any(
        name.endswith(".attentions.0.proj_in.weight") and len(shape) == 2 for name, shape in shapes.items()
    )
    heads: int | list[int] | None = 8
    if linear:
        heads = [width // 64 for width in widths] if all(width % 64 == 0 for width in widths) else None
    elif any(width % 8 for width in widths):
        heads = None
    added = side(shapes, 1, "add_embedding.linear_1.weight")
    return without_none(
        {
            "in_channels": needed(shapes, 1, "conv_in.weight"),
            "out_channels": needed(shapes, 0, "conv_out.weight"),
            "block_out_channels": widths,
            "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
            "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)],
            "layers_per_block": count_blocks(shapes, "down_blocks.0.resnets."),
            "transformer_layers_per_block": [depth or 1 for depth in depths[:-1]]
            + [depths[-1] or middle or 1],
            "cross_attention_dim": context_width(shapes),
            "attention_head_dim": heads,
            "use_linear_projection": linear,
            "norm_num_groups": 32 if all(width % 32 == 0 for width in widths) else None,
            "time_cond_proj_dim": side(shapes, 1, "time_embedding.cond_proj.weight"),
            "encoder_hid_dim": side(shapes, 1, "encoder_hid_proj.weight"),
            **(
                {
                    "addition_embed_type": "text_time",
                    "addition_time_embed_dim": 256,
                    "projection_class_embeddings_input_dim": added,
                }
                if added
                else {}
            ),
        }
    )


def _convert_unet(tensors: Tensors) -> Tensors:
    from safelight.models.checkpoints.layouts.conversion import convert_with

    prefix = "model.diffusion_model."
    numbers = [
        int(name.split(".")[1]) for name in tensors if name.startswith("input_blocks.") and ".0.op." in name
    ]
    config = {
        "layers_per_block": min(numbers) - 1 if numbers else 2,
        "addition_embed_type": "text_time" if "label_emb.0.0.weight" in tensors else None,
    }
    named = {prefix + name: tensor for name, tensor in tensors.items()}
    converted = convert_with("convert_ldm_unet_checkpoint", named, config)
    if "time_embed.cond_proj.weight" in tensors:  # the guidance of distilled models (LCM)
        converted["time_embedding.cond_proj.weight"] = tensors["time_embed.cond_proj.weight"]
    # Kolors' projection has no other name in the original code's layout
    return converted | {
        name: value for name, value in tensors.items() if name.startswith("encoder_hid_proj.")
    }


def unet(name: str, title: str, fits: Callable[[Shapes], bool]) -> NetworkLayout:
    """A U-Net's layout.

    Args:
        name: The family.
        title: What people call it.
        fits: Whether shapes are this family's.
    """
    return NetworkLayout(
        name=name,
        title=title,
        role="denoiser",
        class_name="UNet2DConditionModel",
        own_keys=("input_blocks.0.0.weight",),
        library_keys=("down_blocks.0.resnets.0.conv1.weight",),
        fits=lambda shapes: (
            fits(shapes)
            and any("attn2.to_k." in key for key in shapes)
            and (_is_xl(shapes) if name == "kolors" else "encoder_hid_proj.weight" not in shapes)
        ),
        convert=_convert_unet,
        config=lambda shapes: unet_config(shapes) | _FIXED[name],
        required=("attention_head_dim", "norm_num_groups"),
    )


_FIXED: Mapping[str, Config] = {
    "sd1": {"sample_size": 64},
    "sd2": {"sample_size": 96, "upcast_attention": True},
    "sdxl": {"sample_size": 128},
    "sdxl-refiner": {"sample_size": 128},
    "kolors": {"sample_size": 128, "encoder_hid_dim_type": "text_proj"},
}


def _is_xl(shapes: Shapes) -> bool:
    return "label_emb.0.0.weight" in shapes or "add_embedding.linear_1.weight" in shapes


def _is_linear(shapes: Shapes) -> bool:
    """Whether attention's projections are linear, as in all U-Nets but Stable Diffusion 1's."""
    ends = (".1.proj_in.weight", ".attentions.0.proj_in.weight")
    return any(name.endswith(ends) and len(shape) == 2 for name, shape in shapes.items())


def _check_edit(shapes: Shapes) -> str:
    """The variant that a U-Net's channels tell: "", "inpaint" or "instruct-pix2pix".

    Raises:
        CheckpointFamilyError: They are those of a model that no pipeline serves.
    """
    inputs, outputs = side(shapes, 1, *_INPUT) or 4, side(shapes, 0, *_OUTPUT) or 4
    if inputs == outputs:
        return ""
    if inputs == 2 * outputs + 1:
        return "inpaint"
    if inputs == 2 * outputs:
        return "instruct-pix2pix"
    if inputs == outputs + 1:
        raise CheckpointFamilyError(
            f"The U-Net takes {inputs} channels: a depth or upscaling model, for which Safelight has no pipeline."
        )
    raise CheckpointFamilyError(
        f"The U-Net takes {inputs} channels and gives {outputs}: neither a plain nor an inpainting model."
    )


def unet_variant(key: str, families: tuple[str, ...]) -> Variant:
    """Tell the variants of a U-Net's family apart.

    Args:
        key: The family.
        families: The names of its variants that Safelight has.
    """

    def variant(shapes: Shapes, metadata: Mapping[str, str], name: str) -> str:
        found = _check_edit(shapes)
        if found:
            if f"{key}-{found}" not in families:
                raise CheckpointFamilyError(f"The file is an {found} model of a family that has none.")
            return f"{key}-{found}"
        if "edm_mean" in shapes and f"{key}-playground" in families:
            return f"{key}-playground"
        guided = "time_embed.cond_proj.weight" in shapes or "time_embedding.cond_proj.weight" in shapes
        if guided and f"{key}-lcm" in families:
            return f"{key}-lcm"
        words = declared(metadata, name)
        for word, variant_name in (
            ("turbo", "turbo"),
            ("lightning", "lightning"),
            ("hyper", "hyper"),
            ("lcm", "lcm-cfg"),
        ):
            if word in words and f"{key}-{variant_name}" in families:
                return f"{key}-{variant_name}"
        return key

    return variant


def betas(class_name: str, **values: object) -> Config:
    """The config of a scheduler with Stable Diffusion's noise levels, unless other values are given."""
    return {
        "_class_name": class_name,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
        "steps_offset": 1,
        **values,
    }


_EDM: Config = {
    "_class_name": "EDMDPMSolverMultistepScheduler",
    "num_train_timesteps": 1000,
    "sigma_min": 0.002,
    "sigma_max": 80.0,
    "sigma_data": 0.5,
    "prediction_type": "epsilon",
}
"""The scheduler of Playground 2.5, with diffusers' values."""


def _euler(variant: str) -> Config:
    if variant.endswith("playground"):
        return _EDM
    if variant.endswith(("lcm", "lcm-cfg")):
        return _lcm()
    if variant.endswith("turbo"):
        return betas("EulerAncestralDiscreteScheduler", timestep_spacing="trailing")
    if variant.endswith("hyper"):
        return betas("TCDScheduler", timestep_spacing="trailing", clip_sample=False)
    if variant.endswith("lightning"):
        return betas("EulerDiscreteScheduler", timestep_spacing="trailing")
    return betas("EulerDiscreteScheduler", interpolation_type="linear", timestep_spacing="leading")


def _lcm() -> Config:
    return betas("LCMScheduler", original_inference_steps=50, set_alpha_to_one=True, clip_sample=False)


def unet_vae(side_in_pixels: int, scaling: float, *names: str, other_names: tuple[str, ...] = ()) -> Slot:
    """The place of a U-Net's autoencoder.

    Args:
        side_in_pixels: The side of the pictures that it was trained on.
        scaling: The factor of its latents.
        names: Words in names of files that belong to the family.
        other_names: Words in names of files that belong to another.
    """
    return Slot(
        component="vae",
        layouts=("kl", "tiny"),
        usual_files=("sdxl_vae.safetensors",)
        if "xl" in names
        else ("vae-ft-mse-840000-ema-pruned.safetensors",),
        wanted_width=lambda shapes: side(shapes, 0, *_OUTPUT),
        config={"scaling_factor": scaling, "sample_size": side_in_pixels},
        names=names,
        other_names=other_names,
    )


_CLIP = Slot(
    component="text_encoder",
    layouts=("clip",),
    usual_files=("clip_l.safetensors",),
    class_name="CLIPTextModel",
    prefixes=("cond_stage_model.transformer", "embedders.0.transformer", "clip_l", "text_encoder"),
    tokenizer="clip",
    names=("clip_l", "clip-l", "vit-l"),
    other_names=("clip_g", "clip-g", "bigg"),
)


def _open_clip(component: str, *prefixes: str, names: tuple[str, ...]) -> Slot:
    return Slot(
        component=component,
        layouts=("open-clip",),
        usual_files=(f"{names[0]}.safetensors",),
        class_name="CLIPTextModelWithProjection",
        prefixes=(*prefixes, component),
        tokenizer="open-clip",
        names=names,
        other_names=("clip_l", "clip-l", "vit-l"),
    )


_BIG_G = ("clip_g", "clip-g", "bigg")

SD1 = FamilyLayout(
    denoiser=unet(
        "sd1", "a Stable Diffusion 1 U-Net", lambda shapes: not _is_xl(shapes) and not _is_linear(shapes)
    ),
    slots=(unet_vae(512, 0.18215, other_names=("xl",)), replace(_CLIP, wanted_width=context_width)),
    variant=unet_variant(
        "sd1", ("sd1-inpaint", "sd1-instruct-pix2pix", "sd1-lcm", "sd1-lcm-cfg", "sd1-hyper")
    ),
    scheduler=lambda variant: (
        _lcm()
        if variant.endswith(("lcm", "lcm-cfg"))
        else betas("PNDMScheduler", set_alpha_to_one=False, skip_prk_steps=True)
    ),
)
SD2 = FamilyLayout(
    denoiser=unet(
        "sd2", "a Stable Diffusion 2 U-Net", lambda shapes: not _is_xl(shapes) and _is_linear(shapes)
    ),
    slots=(
        unet_vae(768, 0.18215, other_names=("xl",)),
        replace(
            _open_clip(
                "text_encoder", "cond_stage_model.model", "clip_h", names=("clip_h", "clip-h", "vit-h")
            ),
            class_name="CLIPTextModel",
            wanted_width=context_width,
        ),
    ),
    variant=unet_variant("sd2", ("sd2-inpaint", "sd2-turbo")),
    scheduler=lambda _: betas("DDIMScheduler", set_alpha_to_one=False, clip_sample=False),
)
SDXL = FamilyLayout(
    denoiser=unet(
        "sdxl",
        "a Stable Diffusion XL U-Net",
        lambda shapes: _is_xl(shapes) and context_width(shapes) != 1280,
    ),
    slots=(
        unet_vae(1024, 0.13025, "xl"),
        _CLIP,
        _open_clip("text_encoder_2", "embedders.1.model", "clip_g", names=_BIG_G),
    ),
    variant=unet_variant(
        "sdxl",
        (
            "sdxl-inpaint",
            "sdxl-instruct-pix2pix",
            "sdxl-lcm",
            "sdxl-lcm-cfg",
            "sdxl-turbo",
            "sdxl-lightning",
            "sdxl-hyper",
            "sdxl-playground",
        ),
    ),
    scheduler=_euler,
    options=lambda _: {"force_zeros_for_empty_prompt": True},
)
SDXL_REFINER = FamilyLayout(
    denoiser=unet(
        "sdxl-refiner",
        "the U-Net of Stable Diffusion XL's refiner",
        lambda shapes: _is_xl(shapes) and context_width(shapes) != 2048,
    ),
    slots=(
        unet_vae(1024, 0.13025, "xl"),
        replace(
            _open_clip("text_encoder_2", "embedders.0.model", "clip_g", names=_BIG_G),
            wanted_width=context_width,
        ),
    ),
    variant=unet_variant("sdxl-refiner", ()),
    scheduler=_euler,
    options=lambda _: {"force_zeros_for_empty_prompt": False, "requires_aesthetics_score": True},
)

LAYOUTS = (SD1, SD2, SDXL, SDXL_REFINER)
