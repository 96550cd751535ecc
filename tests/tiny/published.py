"""Published configurations of networks at their real sizes, by the names of their layouts.

From the authors' folders and diffusers' scripts and defaults. Where a layout has several sizes, its name is followed by
a colon and the size.
"""

from __future__ import annotations

from typing import Any

PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "sd1": (
        "UNet2DConditionModel",
        {
            "attention_head_dim": 8,
            "block_out_channels": [320, 640, 1280, 1280],
            "cross_attention_dim": 768,
            "down_block_types": [
                "CrossAttnDownBlock2D",
                "CrossAttnDownBlock2D",
                "CrossAttnDownBlock2D",
                "DownBlock2D",
            ],
            "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
            "in_channels": 4,
            "out_channels": 4,
            "layers_per_block": 2,
            "norm_num_groups": 32,
            "sample_size": 64,
        },
    ),
    "sd2": (
        "UNet2DConditionModel",
        {
            "attention_head_dim": [5, 10, 20, 20],
            "block_out_channels": [320, 640, 1280, 1280],
            "cross_attention_dim": 1024,
            "down_block_types": [
                "CrossAttnDownBlock2D",
                "CrossAttnDownBlock2D",
                "CrossAttnDownBlock2D",
                "DownBlock2D",
            ],
            "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
            "in_channels": 4,
            "out_channels": 4,
            "layers_per_block": 2,
            "norm_num_groups": 32,
            "sample_size": 96,
            "use_linear_projection": True,
            "upcast_attention": True,
        },
    ),
    "sdxl": (
        "UNet2DConditionModel",
        {
            "attention_head_dim": [5, 10, 20],
            "block_out_channels": [320, 640, 1280],
            "cross_attention_dim": 2048,
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
            "in_channels": 4,
            "out_channels": 4,
            "layers_per_block": 2,
            "norm_num_groups": 32,
            "sample_size": 128,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
            "transformer_layers_per_block": [1, 2, 10],
        },
    ),
    "sdxl-refiner": (
        "UNet2DConditionModel",
        {
            "attention_head_dim": [6, 12, 24, 24],
            "block_out_channels": [384, 768, 1536, 1536],
            "cross_attention_dim": 1280,
            "down_block_types": [
                "DownBlock2D",
                "CrossAttnDownBlock2D",
                "CrossAttnDownBlock2D",
                "DownBlock2D",
            ],
            "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
            "in_channels": 4,
            "out_channels": 4,
            "layers_per_block": 2,
            "norm_num_groups": 32,
            "sample_size": 128,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2560,
            "transformer_layers_per_block": 4,
        },
    ),
    "sdxl-vae": (
        "AutoencoderKL",
        {
            "act_fn": "silu",
            "block_out_channels": [128, 256, 512, 512],
            "down_block_types": [
                "DownEncoderBlock2D",
                "DownEncoderBlock2D",
                "DownEncoderBlock2D",
                "DownEncoderBlock2D",
            ],
            "up_block_types": [
                "UpDecoderBlock2D",
                "UpDecoderBlock2D",
                "UpDecoderBlock2D",
                "UpDecoderBlock2D",
            ],
            "in_channels": 3,
            "out_channels": 3,
            "latent_channels": 4,
            "layers_per_block": 2,
            "norm_num_groups": 32,
            "sample_size": 1024,
            "scaling_factor": 0.13025,
            "force_upcast": True,
        },
    ),
    "flux": ("FluxTransformer2DModel", {"guidance_embeds": True}),
    "flux:schnell": ("FluxTransformer2DModel", {"guidance_embeds": False}),
    "flux:fill": (
        "FluxTransformer2DModel",
        {"guidance_embeds": True, "in_channels": 384, "out_channels": 64},
    ),
    "chroma": ("ChromaTransformer2DModel", {}),
    "sd3": (
        "SD3Transformer2DModel",
        {
            "num_layers": 24,
            "num_attention_heads": 24,
            "caption_projection_dim": 1536,
            "pos_embed_max_size": 192,
        },
    ),
    "sd3:3.5-large": (
        "SD3Transformer2DModel",
        {
            "num_layers": 38,
            "num_attention_heads": 38,
            "caption_projection_dim": 2432,
            "pos_embed_max_size": 192,
            "qk_norm": "rms_norm",
        },
    ),
    "sd3:3.5-medium": (
        "SD3Transformer2DModel",
        {
            "num_layers": 24,
            "num_attention_heads": 24,
            "caption_projection_dim": 1536,
            "pos_embed_max_size": 384,
            "qk_norm": "rms_norm",
            "dual_attention_layers": list(range(13)),
        },
    ),
    "qwen-image": ("QwenImageTransformer2DModel", {}),
    "z-image": ("ZImageTransformer2DModel", {"axes_lens": [1536, 512, 512]}),
    "auraflow": ("AuraFlowTransformer2DModel", {}),
    "lumina2": ("Lumina2Transformer2DModel", {"cap_feat_dim": 2304}),
    "sana": ("SanaTransformer2DModel", {}),
    "flux2": ("Flux2Transformer2DModel", {}),
    "flux2-klein": (
        "Flux2Transformer2DModel",
        {
            "guidance_embeds": False,
            "num_layers": 5,
            "num_single_layers": 20,
            "num_attention_heads": 24,
            "joint_attention_dim": 7680,
        },
    ),
    "pixart-sigma": (
        "PixArtTransformer2DModel",
        {"caption_channels": 4096, "use_additional_conditions": False},
    ),
    "pixart-alpha": (
        "PixArtTransformer2DModel",
        {"caption_channels": 4096, "use_additional_conditions": True},
    ),
    "hunyuan-dit": (
        "HunyuanDiT2DModel",
        {
            "num_layers": 40,
            "in_channels": 4,
            "patch_size": 2,
            "hidden_size": 1408,
            "sample_size": 128,
            "mlp_ratio": 6144 / 1408,
        },
    ),
    "cogview4": ("CogView4Transformer2DModel", {}),
    "kl": (
        "AutoencoderKL",
        {
            "block_out_channels": [128, 256, 512, 512],
            "down_block_types": ["DownEncoderBlock2D"] * 4,
            "up_block_types": ["UpDecoderBlock2D"] * 4,
            "layers_per_block": 2,
            "latent_channels": 16,
            "use_quant_conv": False,
            "use_post_quant_conv": False,
        },
    ),
    "flux2-vae": ("AutoencoderKLFlux2", {}),
    "wan": ("AutoencoderKLQwenImage", {}),
    "dc": (
        "AutoencoderDC",
        {
            "encoder_block_types": ["ResBlock"] * 3 + ["EfficientViTBlock"] * 3,
            "decoder_block_types": ["ResBlock"] * 3 + ["EfficientViTBlock"] * 3,
            "downsample_block_type": "conv",
            "upsample_block_type": "interpolate",
        },
    ),
    "tiny": ("AutoencoderTiny", {}),
}
"""Class and configuration."""
