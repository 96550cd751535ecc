"""Autoencoders as files: Stable Diffusion's and Flux', Flux.2's, Wan's and Qwen's, HunyuanImage's, DC-AE, TAESD's.

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
    fits=lambda shapes: (
        _is_flat(shapes) and "bn.running_mean" not in shapes and not _is_hunyuan_image(shapes)
    ),
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
    if found := re.match(r"decoder\.upsamples\.(\d{1,9})\.(.*)", name):
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
    fits=lambda shapes: (
        not any(
            key in shapes
            for key in (
                "decoder.upsamples.0.upsamples.0.residual.0.gamma",
                "decoder.up_blocks.0.upsampler.resample.1.weight",
            )
        )
    ),
    convert=_convert_wan,
    config=_wan_config,
    required=("latents_mean", "latents_std"),
    width=_latent_channels,
)

# Qwen-Image 2.1: Wan 2.2's blocks, and two-dimensional

_QWEN21_MIDDLE = re.compile(r"(encoder|decoder)\.middle\.(\d)\.(.*)")
_QWEN21_BLOCK = re.compile(
    r"(encoder|decoder)\.(?:down|up)samples\.(\d{1,9})\.(?:down|up)samples\.(\d{1,9})\.(.*)"
)


def _convert_qwen21(tensors: Tensors) -> Tensors:
    """Wan 2.2's names, which ComfyUI's file has, to diffusers': each level has its blocks in a list of its own."""
    return {_qwen21_name(name): tensor for name, tensor in tensors.items()}


def _qwen21_name(name: str) -> str:
    if found := _QWEN21_BLOCK.match(name):
        part, level, place, rest = found.groups()
        sampled = rest.startswith(("resample.", "time_conv."))
        sampler = "downsampler" if part == "encoder" else "upsampler"
        inside = sampler if sampled else f"resnets.{place}"
        blocks = "down_blocks" if part == "encoder" else "up_blocks"
        name = f"{part}.{blocks}.{level}.{inside}.{rest}"
    elif found := _QWEN21_MIDDLE.match(name):
        part, place, rest = found.groups()
        inside = "attentions.0" if place == "1" else f"resnets.{int(place) // 2}"
        name = f"{part}.mid_block.{inside}.{rest}"
    else:
        for old, new in _WAN_TOP:
            if name.startswith(old):
                name = new + name.removeprefix(old)
                break
    for old, new in _WAN_RESIDUAL.items():
        name = name.replace(old, new)
    return name


def _qwen21_config(shapes: Shapes) -> Config:
    base = needed(shapes, 0, "encoder.conv_in.weight")
    levels = count_blocks(shapes, "encoder.down_blocks.")
    widths = [
        needed(shapes, 0, f"encoder.down_blocks.{level}.resnets.0.conv1.weight") for level in range(levels)
    ]
    latents = needed(shapes, 1, "decoder.conv_in.weight")
    config: Config = {
        "base_dim": base,
        "decoder_base_dim": needed(shapes, 0, "decoder.norm_out.gamma"),
        "z_dim": latents,
        "dim_mult": [width // base for width in widths],
        "num_res_blocks": count_blocks(shapes, "encoder.down_blocks.0.resnets."),
        "temperal_downsample": [
            f"encoder.down_blocks.{level}.downsampler.time_conv.weight" in shapes
            for level in range(levels - 1)
        ],
        "in_channels": needed(shapes, 1, "encoder.conv_in.weight"),
        "out_channels": needed(shapes, 0, "decoder.conv_out.weight"),
    }
    if latents == 64:
        config |= {"latents_mean": QWEN21_MEAN, "latents_std": QWEN21_STD}
    return config


QWEN21_MEAN = [0.5126, 0.7721, -0.0631, 1.3506, -0.7855, -2.1025, -0.3458, 1.3722,
               1.8873, -1.7177, -0.6510, 0.2732, 0.7562, -0.6163, -1.0277, 3.8363,
               2.0210, 0.0472, 0.9320, 2.0087, 2.4954, -0.1391, -1.4249, 1.8464,
               -0.5236, 1.2826, 3.7046, -1.3035, 2.7286, -1.4518, -1.9036, -1.9955,
               -0.0342, -1.0265, -0.7636, 3.0555, 0.0746, -3.0751, -0.1076, 1.7376,
               -1.0914, -1.9435, -0.2784, -1.3680, 0.4809, -0.4433, 0.3764, 0.5729,
               -2.0595, 1.0960, -1.3260, -2.0211, -5.0179, 0.5275, 4.0162, 1.8505,
               0.3026, 1.9373, 1.4937, 0.2632, 0.5547, -1.7121, -0.1562, 0.0304]  # fmt: skip
QWEN21_STD = [3.2001, 3.2936, 3.4321, 3.0091, 3.1061, 4.0379, 4.0705, 3.7910,
              3.0785, 3.6500, 3.9308, 3.0904, 2.8778, 3.7675, 3.7320, 5.0756,
              3.2864, 4.0397, 3.1317, 4.0443, 2.9249, 3.9454, 3.0988, 4.2489,
              3.4896, 3.8513, 3.9323, 3.4719, 3.7498, 4.2830, 3.5694, 4.2467,
              3.9037, 3.2947, 5.0770, 3.5075, 3.2700, 3.4767, 2.8063, 5.1125,
              3.5327, 4.7833, 3.1286, 4.1819, 3.8527, 3.8312, 3.5605, 4.3875,
              3.9624, 4.0168, 3.5643, 4.0550, 5.5614, 4.2963, 4.4080, 3.4959,
              3.8747, 3.7608, 3.5735, 3.1490, 3.7662, 3.6746, 3.4563, 3.8161]  # fmt: skip
"""Means and deviations of the latents of Qwen-Image 2.1: diffusers' defaults."""

QWEN21 = NetworkLayout(
    name="qwen-image-21-vae",
    title="an autoencoder of Qwen-Image 2.1",
    role="vae",
    class_name="AutoencoderKLQwenImage21",
    own_keys=("decoder.upsamples.0.upsamples.0.residual.0.gamma",),
    library_keys=("decoder.up_blocks.0.upsampler.resample.1.weight",),
    fits=lambda shapes: (
        len(shapes.get("decoder.conv1.weight", shapes.get("decoder.conv_in.weight", ()))) == 4
    ),
    convert=_convert_qwen21,
    config=_qwen21_config,
    required=("latents_mean", "latents_std"),
    width=_latent_channels,
)

# HunyuanImage 2.1


def _is_hunyuan_image(shapes: Shapes) -> bool:
    """Whether upsampling is by more channels, and so the convolution's output is wider than its input."""
    return any(
        len(shape) > 1 and shape[0] > shape[1]
        for shape in (
            shapes.get("decoder.up.0.upsample.conv.weight", ()),
            *(shapes.get(f"decoder.up_blocks.{place}.conv.weight", ()) for place in range(1, 9)),
        )
    )


def _convert_hunyuan_image(tensors: Tensors) -> Tensors:
    """The names that diffusers' scripts/convert_hunyuan_image_to_diffusers.py reads; its blocks are in one list."""
    blocks: dict[tuple[str, int], int] = {}
    for part in ("encoder", "decoder"):
        kind = "down" if part == "encoder" else "up"
        levels = count_blocks(dict.fromkeys(tensors, ()), f"{part}.{kind}.")
        place = 0
        for level in range(levels):
            blocks[part, level] = place
            prefix = f"{part}.{kind}.{level}."
            place += count_blocks(dict.fromkeys(tensors, ()), f"{prefix}block.")
            place += f"{prefix}{kind}sample.conv.weight" in tensors
    converted: Tensors = {}
    for name, tensor in tensors.items():
        if tensor.dim() == 5:  # the authors' file has convolutions in time of length 1
            tensor = tensor.squeeze(2)  # noqa: PLW2901  the same tensor
        converted[_hunyuan_image_name(name, blocks, tensors)] = tensor
    return converted


def _hunyuan_image_name(name: str, blocks: dict[tuple[str, int], int], tensors: Tensors) -> str:
    if found := re.match(
        r"(encoder|decoder)\.(down|up)\.(\d{1,9})\.(?:block\.(\d{1,9})|(?:down|up)sample)\.(.*)", name
    ):
        part, kind, level, place, rest = found.groups()
        first = blocks[part, int(level)]
        if place is None:
            prefix = f"{part}.{kind}.{level}.block."
            place = str(count_blocks(dict.fromkeys(tensors, ()), prefix))
        return f"{part}.{kind}_blocks.{first + int(place)}.{rest.replace('nin_shortcut', 'conv_shortcut')}"
    name = name.replace(".mid.block_1.", ".mid_block.resnets.0.").replace(
        ".mid.block_2.", ".mid_block.resnets.1."
    )
    if ".mid.attn_1." in name:
        name = name.replace(".mid.attn_1.", ".mid_block.attentions.0.")
        name = re.sub(r"\.([qkv])\.", r".to_\1.", name).replace(".proj_out.", ".proj.")
    return name


def _hunyuan_image_config(shapes: Shapes) -> Config:
    """A level ends with a convolution that gives it another width; the last one has none."""
    count = count_blocks(shapes, "encoder.down_blocks.")
    widths, layers = [], 0
    for place in range(count):
        first = side(shapes, 0, f"encoder.down_blocks.{place}.conv1.weight")
        if first is None:
            continue
        if place == 0 or f"encoder.down_blocks.{place - 1}.conv.weight" in shapes:
            widths.append(first)
        layers += len(widths) == 1
    samplers = sum(f"encoder.down_blocks.{place}.conv.weight" in shapes for place in range(count))
    return {
        "in_channels": needed(shapes, 1, "encoder.conv_in.weight"),
        "out_channels": needed(shapes, 0, "decoder.conv_out.weight"),
        "latent_channels": needed(shapes, 1, "decoder.conv_in.weight"),
        "block_out_channels": widths,
        "layers_per_block": layers,
        "spatial_compression_ratio": 2**samplers,
        "sample_size": 384,
    }


HUNYUAN_IMAGE = NetworkLayout(
    name="hunyuan-image-vae",
    title="an autoencoder of HunyuanImage 2.1",
    role="vae",
    class_name="AutoencoderKLHunyuanImage",
    own_keys=("decoder.up.0.block.0.norm1.weight",),
    library_keys=("decoder.up_blocks.0.norm1.weight",),
    fits=_is_hunyuan_image,
    convert=_convert_hunyuan_image,
    config=_hunyuan_image_config,
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
        layers = sorted({int(name.split(".")[2]) for name in shapes if name.startswith(f"{part}.layers.")})
        for layer in layers:
            if f"{part}.layers.{layer}.conv.0.weight" in shapes:
                if part == "decoder" and (not levels or _begins_level(shapes, layer)):
                    levels.append(0)
                    widths.append(needed(shapes, 0, f"{part}.layers.{layer}.conv.0.weight"))
                levels[-1] += 1
            elif (
                part == "encoder"
                and layer < layers[-1]
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

AUTOENCODERS = (KL, FLUX2_VAE, QWEN21, WAN, DC, TINY, HUNYUAN_IMAGE)
"""All kinds."""
