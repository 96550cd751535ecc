"""Autoencoders as files: Stable Diffusion's and Flux', Flux.2's, Wan's and Qwen's, DC-AE, and TAESD's tiny ones.

Shapes tell everything but factors, which belong to the families (`Slot.config`), and the groups of normalization: 32 in
all published ones.
"""

from __future__ import annotations

import re

from safelight.models.checkpoints.layouts.layout import (
    Config,
    NetworkLayout,
    Shapes,
    Tensors,
    count_blocks,
    needed,
    side,
    without_none,
)


def _groups(*widths: int) -> int | None:
    return 32 if all(width % 32 == 0 for width in widths) else None


def _latent_channels(shapes: Shapes) -> int | None:
    return side(
        shapes, 1, "decoder.conv_in.weight", "decoder.conv1.weight", "decoder.project_in.main.conv.weight"
    )


# Stable Diffusion, Flux


def kl_config(shapes: Shapes) -> Config:
    """The config of an AutoencoderKL, but for its factors."""
    blocks = count_blocks(shapes, "encoder.down_blocks.")
    widths = [
        needed(shapes, 0, f"encoder.down_blocks.{block}.resnets.0.conv1.weight") for block in range(blocks)
    ]
    return without_none(
        {
            "in_channels": needed(shapes, 1, "encoder.conv_in.weight"),
            "out_channels": needed(shapes, 0, "decoder.conv_out.weight"),
            "block_out_channels": widths,
            "down_block_types": ["DownEncoderBlock2D"] * blocks,
            "up_block_types": ["UpDecoderBlock2D"] * blocks,
            "layers_per_block": count_blocks(shapes, "encoder.down_blocks.0.resnets."),
            "latent_channels": needed(shapes, 1, "decoder.conv_in.weight"),
            "norm_num_groups": _groups(*widths),
            "use_quant_conv": "quant_conv.weight" in shapes,
            "use_post_quant_conv": "post_quant_conv.weight" in shapes,
            "mid_block_add_attention": "decoder.mid_block.attentions.0.to_q.weight" in shapes,
        }
    )


def _convert_kl(tensors: Tensors) -> Tensors:
    from safelight.models.checkpoints.layouts.conversion import convert_with

    count = count_blocks(dict.fromkeys(tensors, ()), "encoder.down.")
    blocks = ["DownEncoderBlock2D"] * count  # the function counts them only
    config = {"down_block_types": blocks, "up_block_types": blocks}
    return convert_with("convert_ldm_vae_checkpoint", _nested(tensors), config)


def _nested(tensors: Tensors) -> Tensors:
    """Flux.2's authors keep the convolutions around the latents in the encoder and the decoder."""
    return {
        name.replace("encoder.quant_conv.", "quant_conv.").replace(
            "decoder.post_quant_conv.", "post_quant_conv."
        ): tensor
        for name, tensor in tensors.items()
    }


def _convert_flux2(tensors: Tensors) -> Tensors:
    converted = _convert_kl(tensors)
    return converted | {name: tensor for name, tensor in tensors.items() if name.startswith("bn.")}


def _flux2_config(shapes: Shapes) -> Config:
    config = kl_config(shapes)
    blocks = len(config["block_out_channels"])
    decoder = [
        needed(shapes, 0, f"decoder.up_blocks.{block}.resnets.0.conv1.weight") for block in range(blocks)
    ][::-1]
    return config | (
        {} if decoder == config["block_out_channels"] else {"decoder_block_out_channels": decoder}
    )


_KL_OWN = ("decoder.up.0.block.0.norm1.weight", "encoder.down.0.block.0.norm1.weight")
_KL_LIBRARY = ("decoder.up_blocks.0.resnets.0.norm1.weight",)


def _is_flat(shapes: Shapes) -> bool:
    return len(shapes.get("decoder.conv_in.weight", ())) == 4


KL = NetworkLayout(
    name="kl",
    title="an autoencoder (AutoencoderKL)",
    role="vae",
    class_name="AutoencoderKL",
    own_keys=_KL_OWN,
    library_keys=_KL_LIBRARY,
    fits=lambda shapes: _is_flat(shapes) and "bn.running_mean" not in shapes,
    convert=_convert_kl,
    config=kl_config,
    required=("norm_num_groups",),
    width=_latent_channels,
)
FLUX2_VAE = NetworkLayout(
    name="flux2-vae",
    title="an autoencoder of Flux.2",
    role="vae",
    class_name="AutoencoderKLFlux2",
    own_keys=_KL_OWN,
    library_keys=_KL_LIBRARY,
    fits=lambda shapes: _is_flat(shapes) and "bn.running_mean" in shapes,
    convert=_convert_flux2,
    config=_flux2_config,
    required=("norm_num_groups",),
    width=_latent_channels,
)


# Wan, Qwen-Image

_WAN_RESIDUAL = {
    "residual.0.gamma": "norm1.gamma",
    "residual.2.": "conv1.",
    "residual.3.gamma": "norm2.gamma",
    "residual.6.": "conv2.",
    "shortcut.": "conv_shortcut.",
}
_WAN_TOP = (
    ("conv1.", "quant_conv."),
    ("conv2.", "post_quant_conv."),
    ("encoder.conv1.", "encoder.conv_in."),
    ("decoder.conv1.", "decoder.conv_in."),
    ("encoder.head.0.", "encoder.norm_out."),
    ("encoder.head.2.", "encoder.conv_out."),
    ("decoder.head.0.", "decoder.norm_out."),
    ("decoder.head.2.", "decoder.conv_out."),
    ("encoder.middle.0.", "encoder.mid_block.resnets.0."),
    ("encoder.middle.1.", "encoder.mid_block.attentions.0."),
    ("encoder.middle.2.", "encoder.mid_block.resnets.1."),
    ("decoder.middle.0.", "decoder.mid_block.resnets.0."),
    ("decoder.middle.1.", "decoder.mid_block.attentions.0."),
    ("decoder.middle.2.", "decoder.mid_block.resnets.1."),
    ("encoder.downsamples.", "encoder.down_blocks."),
)


def _convert_wan(tensors: Tensors) -> Tensors:
    """Wan's names to diffusers'; unlike diffusers' own function for any number of blocks."""
    samplers = sorted(
        {
            int(name.split(".")[2])
            for name in tensors
            if re.match(r"decoder\.upsamples\.\d+\.resample\.", name)
        }
    )
    per_level = samplers[0] if samplers else 3
    return {_wan_name(name, per_level): tensor for name, tensor in tensors.items()}


def _wan_name(name: str, per_level: int) -> str:
    for old, new in _WAN_TOP:
        if name.startswith(old):
            name = new + name.removeprefix(old)
            break
    if found := re.match(r"decoder\.upsamples\.(\d+)\.(.*)", name):
        level, place = divmod(int(found[1]), per_level + 1)
        inside = "upsamplers.0" if place == per_level else f"resnets.{place}"
        name = f"decoder.up_blocks.{level}.{inside}.{found[2]}"
    for old, new in _WAN_RESIDUAL.items():
        name = name.replace(old, new)
    return name


def _wan_config(shapes: Shapes) -> Config:
    """The widths of the encoder's levels tell base_dim and dim_mult; where it halves the time too has a time_conv."""
    base = needed(shapes, 0, "encoder.conv_in.weight")
    latents = needed(shapes, 1, "decoder.conv_in.weight")
    blocks = count_blocks(shapes, "encoder.down_blocks.")
    samplers = [
        block for block in range(blocks) if f"encoder.down_blocks.{block}.resample.1.weight" in shapes
    ]
    per_level = samplers[0] if samplers else blocks
    levels = len(samplers) + 1
    widths = [
        needed(shapes, 0, f"encoder.down_blocks.{level * (per_level + 1)}.conv1.weight")
        for level in range(levels)
    ]
    config: Config = {
        "base_dim": base,
        "z_dim": latents,
        "dim_mult": [width // base for width in widths],
        "num_res_blocks": per_level,
        "temperal_downsample": [
            f"encoder.down_blocks.{block}.time_conv.weight" in shapes for block in samplers
        ],
    }
    if needed(shapes, 1, "encoder.conv_in.weight") != 3:
        config["input_channels"] = needed(shapes, 1, "encoder.conv_in.weight")
    if latents == 16:
        config |= {"latents_mean": QWEN_MEAN, "latents_std": QWEN_STD}
    return config


QWEN_MEAN = [-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
             0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921]  # fmt: skip
QWEN_STD = [2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
            3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.916]  # fmt: skip
"""Means and deviations of the latents of Wan 2.1 and Qwen-Image: diffusers' defaults."""

WAN = NetworkLayout(
    name="wan",
    title="an autoencoder of Qwen-Image and Wan 2.1",
    role="vae",
    class_name="AutoencoderKLQwenImage",
    own_keys=("decoder.middle.0.residual.0.gamma",),
    library_keys=("decoder.mid_block.resnets.0.norm1.gamma",),
    convert=_convert_wan,
    config=_wan_config,
    required=("latents_mean", "latents_std"),
    width=_latent_channels,
)

# DC-AE


def _dc_config(shapes: Shapes) -> Config:
    """Sana's autoencoder; its attention's head dimension shows in the grouped convolution of its coarser scale."""
    config: Config = {
        "in_channels": needed(shapes, 1, "encoder.conv_in.weight", "encoder.conv_in.conv.weight"),
        "latent_channels": needed(shapes, 1, "decoder.conv_in.weight"),
        "downsample_block_type": "conv",
        "upsample_block_type": "interpolate",
    }
    for part, blocks_name in (("encoder", "encoder.down_blocks."), ("decoder", "decoder.up_blocks.")):
        widths, layers, kinds, scales = [], [], [], []
        for block in range(count_blocks(shapes, blocks_name)):
            prefix = f"{blocks_name}{block}."
            names = sorted(
                {int(name.removeprefix(prefix).split(".")[0]) for name in shapes if name.startswith(prefix)}
            )
            inner = [n for n in names if f"{prefix}{n}.conv.weight" not in shapes]
            attends = any(f"{prefix}{n}.attn.to_q.weight" in shapes for n in inner)
            first = f"{prefix}{inner[0]}"
            width = needed(shapes, 0, f"{first}.conv2.weight", f"{first}.attn.to_q.weight")
            if attends:
                width = needed(shapes, 1, f"{first}.attn.to_q.weight")
            kernel = side(shapes, 2, f"{first}.attn.to_qkv_multiscale.0.proj_in.weight")
            if attends and (head := side(shapes, 1, f"{first}.attn.to_qkv_multiscale.0.proj_out.weight")):
                config["attention_head_dim"] = head
            widths.append(width)
            layers.append(len(inner))
            kinds.append("EfficientViTBlock" if attends else "ResBlock")
            scales.append([kernel] if kernel else [])
        config |= {
            f"{part}_block_out_channels": widths,
            f"{part}_layers_per_block": layers,
            f"{part}_block_types": kinds,
            f"{part}_qkv_multiscales": scales,
        }
    return config


DC = NetworkLayout(
    name="dc",
    title="a deep compression autoencoder (Sana)",
    role="vae",
    class_name="AutoencoderDC",
    own_keys=("encoder.project_in.conv.weight", "encoder.project_in.conv.conv.weight"),
    library_keys=("encoder.down_blocks.0.0.conv1.weight",),
    convert="convert_autoencoder_dc_checkpoint_to_diffusers",
    config=_dc_config,
    width=_latent_channels,
)

# TAESD


def _convert_tiny(tensors: Tensors) -> Tensors:
    """TAESD's names to diffusers': its decoder begins with a clamp, which diffusers does not count as a layer."""
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        number, _, last = rest.partition(".")
        place = int(number) - 1 if part == "decoder" else int(number)
        renamed[f"{part}.layers.{place}.{last}"] = tensor
    return renamed


def _tiny_config(shapes: Shapes) -> Config:
    """Layers with a single weight begin a level; those with ``conv.0`` are its blocks."""
    config: Config = {
        "in_channels": needed(shapes, 1, "encoder.layers.0.weight"),
        "latent_channels": needed(shapes, 1, "decoder.layers.0.weight"),
    }
    for part in ("encoder", "decoder"):
        levels: list[int] = []
        widths: list[int] = []
        count = count_blocks(shapes, f"{part}.layers.")
        for layer in range(count):
            if f"{part}.layers.{layer}.conv.0.weight" in shapes:
                if part == "decoder" and (not levels or _begins_level(shapes, layer)):
                    levels.append(0)
                    widths.append(needed(shapes, 0, f"{part}.layers.{layer}.conv.0.weight"))
                levels[-1] += 1
            elif (
                part == "encoder"
                and layer < count - 1
                and (width := side(shapes, 0, f"{part}.layers.{layer}.weight"))
            ):
                levels.append(0)
                widths.append(width)
        config |= {f"num_{part}_blocks": levels, f"{part}_block_out_channels": widths}
    return config


def _begins_level(shapes: Shapes, layer: int) -> bool:
    """Whether the layer before a decoder's block is the convolution after an upsampling, or the first activation."""
    return f"decoder.layers.{layer - 1}.conv.0.weight" not in shapes


TINY = NetworkLayout(
    name="tiny",
    title="a tiny autoencoder (TAESD)",
    role="vae",
    class_name="AutoencoderTiny",
    own_keys=("decoder.3.conv.0.weight",),
    library_keys=("decoder.layers.2.conv.0.weight",),
    fits=lambda shapes: "encoder.0.weight" in shapes or "encoder.layers.0.weight" in shapes,
    convert=_convert_tiny,
    config=_tiny_config,
    width=lambda shapes: side(shapes, 1, "decoder.1.weight", "decoder.layers.0.weight"),
)

AUTOENCODERS = (KL, FLUX2_VAE, WAN, DC, TINY)
"""All kinds."""
