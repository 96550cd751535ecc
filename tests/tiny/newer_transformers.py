"""Tiny checkpoints of the newer transformer families."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffusers import (
    AdaptiveProjectedMixGuidance,
    DiffusionPipeline,
    ErnieImagePipeline,
    ErnieImageTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchLCMScheduler,
    HiDreamImagePipeline,
    HiDreamImageTransformer2DModel,
    HunyuanImagePipeline,
    HunyuanImageTransformer2DModel,
    Kandinsky5T2IPipeline,
    Kandinsky5Transformer3DModel,
    Krea2Pipeline,
    Krea2Transformer2DModel,
    QwenImage21Pipeline,
    QwenImage21Transformer2DModel,
    UniPCMultistepScheduler,
)
from tests.tiny import components, tokenizer_builders
from torch import nn

WIDTH = components.WIDTH


def _randomized(network: Any) -> Any:
    """The network with random numbers where a class begins with zeros, so that all its inputs have an effect."""
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return network


def _hidream(scheduler: object) -> DiffusionPipeline:
    first, second = tokenizer_builders.clip(), tokenizer_builders.clip(pad="!")
    third, fourth = tokenizer_builders.t5(128), tokenizer_builders.qwen2()
    transformer = HiDreamImageTransformer2DModel(
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_channels=[WIDTH, WIDTH],
        text_emb_dim=2 * WIDTH,
        axes_dims_rope=(4, 2, 2),
        max_resolution=(8, 8),
        llama_layers=[0, 1],
    )
    return HiDreamImagePipeline(
        scheduler=scheduler,
        vae=components.flux_autoencoder(),
        text_encoder=components.clip_projected(first, positions=128),
        tokenizer=first,
        text_encoder_2=components.clip_projected(second, positions=128),
        tokenizer_2=second,
        text_encoder_3=components.t5(third),
        tokenizer_3=third,
        text_encoder_4=components.llama(fourth),
        tokenizer_4=fourth,
        transformer=transformer,
    )


def hidream() -> DiffusionPipeline:
    flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
    return _hidream(UniPCMultistepScheduler(**flow))


def hidream_dev() -> DiffusionPipeline:
    return _hidream(FlowMatchLCMScheduler(shift=6.0))


def hidream_fast() -> DiffusionPipeline:
    return _hidream(FlowMatchLCMScheduler(shift=3.0))


def krea2(distilled: bool = False) -> DiffusionPipeline:
    tokenizer = tokenizer_builders.qwen2()
    transformer = Krea2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=37,
        timestep_embed_dim=16,
        text_hidden_dim=WIDTH,
        num_text_layers=2,
        text_num_attention_heads=2,
        text_num_key_value_heads=2,
        text_intermediate_size=37,
        num_layerwise_text_blocks=1,
        num_refiner_text_blocks=1,
        axes_dims_rope=(8, 4, 4),
    )
    return Krea2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, max_image_seq_len=6400),
        vae=components.qwen_autoencoder(),
        text_encoder=components.qwen3_vl(tokenizer),
        tokenizer=tokenizer,
        transformer=transformer,
        text_encoder_select_layers=(1, 2),
        is_distilled=distilled,
    )


def krea2_distilled() -> DiffusionPipeline:
    return krea2(distilled=True)


def ernie_image() -> DiffusionPipeline:
    tokenizer = tokenizer_builders.qwen2()
    transformer = ErnieImageTransformer2DModel(
        hidden_size=WIDTH,
        num_attention_heads=2,
        num_layers=1,
        ffn_hidden_size=37,
        in_channels=16,
        out_channels=16,
        text_in_dim=WIDTH,
        rope_axes_dim=(8, 4, 4),
    )
    return ErnieImagePipeline(
        transformer=_randomized(transformer),
        vae=components.flux2_autoencoder(),
        text_encoder=components.mistral3_model(tokenizer),
        tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def kandinsky5() -> DiffusionPipeline:
    first, second = tokenizer_builders.qwen2_vl(), tokenizer_builders.clip()
    transformer = Kandinsky5Transformer3DModel(
        in_visual_dim=4,
        out_visual_dim=4,
        in_text_dim=WIDTH,
        in_text_dim2=WIDTH,
        time_dim=16,
        model_dim=32,
        ff_dim=37,
        num_text_blocks=1,
        num_visual_blocks=1,
        axes_dims=(8, 4, 4),
    )
    return Kandinsky5T2IPipeline(
        transformer=_randomized(transformer),
        vae=components.flux_autoencoder(),
        text_encoder=components.qwen25_vl(first.tokenizer),
        tokenizer=first,
        text_encoder_2=components.clip(second),
        tokenizer_2=second,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def hunyuan_image(distilled: bool = False) -> DiffusionPipeline:
    first, second = tokenizer_builders.qwen2(), tokenizer_builders.byt5()
    transformer = HunyuanImageTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        guidance_embeds=distilled,
        use_meanflow=distilled,
        text_embed_dim=WIDTH,
        text_embed_2_dim=WIDTH,
        rope_axes_dim=(4, 4),
    )
    guidance = {"adaptive_projected_guidance_start_step": 1}
    return HunyuanImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        vae=components.hunyuan_autoencoder(),
        text_encoder=components.qwen25_vl(first, layers=3),
        tokenizer=first,
        text_encoder_2=components.t5(second),
        tokenizer_2=second,
        transformer=transformer,
        guider=None if distilled else AdaptiveProjectedMixGuidance(**guidance),
        ocr_guider=None if distilled else AdaptiveProjectedMixGuidance(**guidance),
    )


def hunyuan_image_distilled() -> DiffusionPipeline:
    return hunyuan_image(distilled=True)


def qwen_image21() -> DiffusionPipeline:
    processor = tokenizer_builders.qwen3_vl()
    transformer = QwenImage21Transformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        context_in_dim=WIDTH,
        mlp_ratio=1,
        axes_dims_rope=(8, 4, 4),
    )
    return QwenImage21Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=components.qwen21_autoencoder(),
        text_encoder=components.qwen3_vl_generation(processor.tokenizer),
        processor=processor,
        transformer=_randomized(transformer),
        sample_sigmas=[1.0, 0.9, 0.7, 0.4],
    )


BUILDERS: dict[str, Callable[[], DiffusionPipeline]] = {
    "hidream": hidream,
    "hidream-dev": hidream_dev,
    "hidream-fast": hidream_fast,
    "krea2": krea2,
    "krea2-distilled": krea2_distilled,
    "ernie-image": ernie_image,
    "kandinsky5": kandinsky5,
    "qwen-image-21": qwen_image21,
    "hunyuan-image": hunyuan_image,
    "hunyuan-image-distilled": hunyuan_image_distilled,
}
