"""A checkpoint of Stable Diffusion 1.5's size with random weights: for speed and memory, not for pictures."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from safelight.models.checkpoints.discovery import STARTER_PATH


def write_random(folder: Path, *, half: bool = False) -> Path:
    """Write a checkpoint of Stable Diffusion 1.5's size with random weights, and the starter's tokenizer.

    Args:
        folder: Where.
        half: Whether the weights are stored in fp16 instead of fp32.
    """
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        cross_attention_dim=768,
        attention_head_dim=8,
        block_out_channels=(320, 640, 1280, 1280),
        down_block_types=(*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"),
        up_block_types=("UpBlock2D", *["CrossAttnUpBlock2D"] * 3),
    )
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
    )
    config = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_attention_heads=12, num_hidden_layers=12
    )
    starter = StableDiffusionPipeline.from_pretrained(STARTER_PATH, local_files_only=True)
    starter.tokenizer.model_max_length = config.max_position_embeddings
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(config),
        tokenizer=starter.tokenizer,
        unet=unet,
        scheduler=DDIMScheduler.from_config(starter.scheduler.config),
        safety_checker=None,
        feature_extractor=None,
    )
    if half:
        pipeline.to(torch.float16)
    pipeline.save_pretrained(folder)
    return folder
