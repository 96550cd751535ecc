"""Small networks of each layout, and a call of each."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from tests.tiny import TINY
from torch import Tensor, nn

Arguments = dict[str, Any]


@cache
def network(family: str, component: str) -> nn.Module:
    torch.manual_seed(0)
    found: nn.Module = getattr(TINY[family](), component).eval().requires_grad_(False)
    return found


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def sd_unet(unet: Any) -> Arguments:
    width = unet.config.cross_attention_dim
    text = random(2, 7, width)
    return {"sample": random(2, 4, 8, 8), "timestep": torch.tensor(300), "encoder_hidden_states": text}


def sdxl_unet(unet: Any) -> Arguments:
    config = unet.config
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    more = {"text_embeds": random(2, pooled), "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]] * 2)}
    return sd_unet(unet) | {"added_cond_kwargs": more}


def sd3(transformer: Any) -> Arguments:
    config = transformer.config
    return {
        "hidden_states": random(2, config.in_channels, 8, 8),
        "encoder_hidden_states": random(2, 7, config.joint_attention_dim),
        "pooled_projections": random(2, config.pooled_projection_dim),
        "timestep": torch.tensor([500.0, 500.0]),
    }


def flux(transformer: Any) -> Arguments:
    config = transformer.config
    grid = torch.cartesian_prod(torch.zeros(1), torch.arange(4.0), torch.arange(4.0))
    return {
        "hidden_states": random(1, 16, config.in_channels),
        "encoder_hidden_states": random(1, 7, config.joint_attention_dim),
        "pooled_projections": random(1, config.pooled_projection_dim),
        "timestep": torch.tensor([0.5]),
        "guidance": torch.tensor([3.5]),
        "img_ids": grid,
        "txt_ids": torch.zeros(7, 3),
    }


def z_image(transformer: Any) -> Arguments:
    config = transformer.config
    pictures = [random(config.in_channels, 1, 8, 8)] * 2
    captions = [random(5, config.cap_feat_dim), random(9, config.cap_feat_dim)]
    return {"x": pictures, "t": torch.tensor([0.3, 0.3]), "cap_feats": captions}


def z_image_omni(transformer: Any) -> Arguments:
    """With one picture that it looks at."""
    config = transformer.config
    pictures = [[random(config.in_channels, 1, 4, 8), random(config.in_channels, 1, 8, 8)] for _ in range(2)]
    captions = [
        [random(length, config.cap_feat_dim) for length in lengths] for lengths in ((3, 5, 2), (3, 9, 2))
    ]
    seen = [[random(2, 4, config.siglip_feat_dim), None] for _ in range(2)]
    return {
        "x": pictures,
        "t": torch.tensor([0.3, 0.3]),
        "cap_feats": captions,
        "siglip_feats": seen,
        "image_noise_mask": [[0, 1], [0, 1]],
    }


CALLS: dict[str, tuple[str, str, str, Callable[[Any], Arguments]]] = {
    "Stable Diffusion": ("sd1", "unet", "forward", sd_unet),
    "SDXL": ("sdxl", "unet", "forward", sdxl_unet),
    "SD3": ("sd3", "transformer", "forward", sd3),
    "Flux": ("flux", "transformer", "forward", flux),
    "Z-Image": ("z-image", "transformer", "forward", z_image),
    "Z-Image Omni": ("z-image-omni", "transformer", "forward", z_image_omni),
    "encoding": ("sd1", "vae", "encode", lambda _: {"x": random(1, 3, 32, 32)}),
    "decoding": ("sd1", "vae", "decode", lambda _: {"z": random(1, 4, 8, 8), "generator": torch.Generator()}),
    "CLIP": (
        "sd1",
        "text_encoder",
        "forward",
        lambda _: {"input_ids": torch.arange(9)[None], "output_hidden_states": True},
    ),
}
