"""Tiny checkpoints of the transformer families."""

from __future__ import annotations

from collections.abc import Callable

from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    ChromaPipeline,
    ChromaTransformer2DModel,
    CogView4Pipeline,
    CogView4Transformer2DModel,
    DDPMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    FluxFillPipeline,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    HunyuanDiT2DModel,
    HunyuanDiTPipeline,
    LCMScheduler,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    QwenImageEditPipeline,
    QwenImageEditPlusPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaSprintPipeline,
    SanaTransformer2DModel,
    SCMScheduler,
    ZImageOmniPipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tests.tiny import components, tokenizer_builders
from transformers import Qwen2Tokenizer, Siglip2ImageProcessor

WIDTH = components.WIDTH


def _flow(**config: object) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(**config)


def _flux_transformer(in_channels: int, guided: bool) -> FluxTransformer2DModel:
    return FluxTransformer2DModel(
        in_channels=in_channels,
        out_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=guided,
    )


def _flux(kind: type, in_channels: int = 16, guided: bool = True) -> DiffusionPipeline:
    first, second = tokenizer_builders.clip(), tokenizer_builders.t5()
    return kind(
        scheduler=_flow(shift=3.0, use_dynamic_shifting=True) if guided else _flow(),
        vae=components.flux_autoencoder(),
        text_encoder=components.clip(first),
        tokenizer=first,
        text_encoder_2=components.t5(second),
        tokenizer_2=second,
        transformer=_flux_transformer(in_channels, guided),
    )


def flux() -> DiffusionPipeline:
    return _flux(FluxPipeline)


def flux_schnell() -> DiffusionPipeline:
    return _flux(FluxPipeline, guided=False)


def flux_kontext() -> DiffusionPipeline:
    return _flux(FluxKontextPipeline)


def flux_fill() -> DiffusionPipeline:
    """The input has the latents, the masked image's latents and the mask's 8 x 8 pixels, each in 2 x 2 patches."""
    return _flux(FluxFillPipeline, in_channels=16 + 16 + 4 * 64)


def _flux2_transformer(guided: bool) -> Flux2Transformer2DModel:
    return Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * WIDTH,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guided,
    )


def flux2() -> DiffusionPipeline:
    processor = tokenizer_builders.pixtral()
    return Flux2Pipeline(
        scheduler=_flow(use_dynamic_shifting=True),
        vae=components.flux2_autoencoder(),
        text_encoder=components.mistral3(processor.tokenizer),
        tokenizer=processor,
        transformer=_flux2_transformer(guided=True),
    )


def flux2_klein(distilled: bool = False) -> DiffusionPipeline:
    tokenizer = tokenizer_builders.qwen2()
    return Flux2KleinPipeline(
        scheduler=_flow(use_dynamic_shifting=True),
        vae=components.flux2_autoencoder(),
        text_encoder=components.qwen3_deep(tokenizer),
        tokenizer=tokenizer,
        transformer=_flux2_transformer(guided=False),
        is_distilled=distilled,
    )


def flux2_klein_distilled() -> DiffusionPipeline:
    return flux2_klein(distilled=True)


def qwen_image(
    kind: type = QwenImagePipeline, tokenizer: Qwen2Tokenizer | None = None, **more: object
) -> DiffusionPipeline:
    tokenizer = tokenizer or tokenizer_builders.qwen2()
    transformer = QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(8, 4, 4),
    )
    return kind(
        scheduler=_flow(use_dynamic_shifting=True),
        vae=components.qwen_autoencoder(),
        text_encoder=components.qwen25_vl(tokenizer),
        tokenizer=tokenizer,
        transformer=transformer,
        **more,
    )


def qwen_image_edit(kind: type = QwenImageEditPipeline) -> DiffusionPipeline:
    processor = tokenizer_builders.qwen2_vl(sees=True)
    return qwen_image(kind, processor.tokenizer, processor=processor)


def qwen_image_edit_plus() -> DiffusionPipeline:
    return qwen_image_edit(QwenImageEditPlusPipeline)


def _z_image(shift: float, kind: type = ZImagePipeline, **parts: object) -> DiffusionPipeline:
    tokenizer = tokenizer_builders.qwen2()
    transformer = ZImageTransformer2DModel(
        in_channels=16,  # as in the real model: its pipelines accept only four channels for bare latents
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=WIDTH,
        siglip_feat_dim=components.SIGLIP_WIDTH if parts else None,
        axes_dims=[8, 4, 4],
        axes_lens=[1024, 64, 64],
    )
    return kind(
        scheduler=_flow(shift=shift),
        vae=components.flux_autoencoder(16),
        text_encoder=components.qwen3(tokenizer),
        tokenizer=tokenizer,
        transformer=transformer,
        **parts,
    )


def z_image() -> DiffusionPipeline:
    return _z_image(6.0)


def z_image_turbo() -> DiffusionPipeline:
    return _z_image(3.0)


def z_image_omni() -> DiffusionPipeline:
    processor = Siglip2ImageProcessor(
        patch_size=components.SIGLIP_PATCH, max_num_patches=components.SIGLIP_PATCHES
    )
    return _z_image(6.0, ZImageOmniPipeline, siglip=components.siglip2(), siglip_processor=processor)


def _sana_transformer(**config: object) -> SanaTransformer2DModel:
    return SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=4,
        num_cross_attention_heads=2,
        cross_attention_head_dim=4,
        cross_attention_dim=8,
        caption_channels=WIDTH,
        sample_size=32,
        **config,
    )


def sana_sprint() -> DiffusionPipeline:
    tokenizer = tokenizer_builders.gemma()
    return SanaSprintPipeline(
        tokenizer=tokenizer,
        text_encoder=components.gemma2(tokenizer),
        vae=components.sana_autoencoder(),
        transformer=_sana_transformer(
            guidance_embeds=True, guidance_embeds_scale=0.1, qk_norm="rms_norm_across_heads"
        ),
        scheduler=SCMScheduler(),
    )


def sana() -> DiffusionPipeline:
    tokenizer = tokenizer_builders.gemma()
    return SanaPipeline(
        tokenizer=tokenizer,
        text_encoder=components.gemma2(tokenizer),
        vae=components.sana_autoencoder(),
        transformer=_sana_transformer(),
        scheduler=DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    )


def _pixart(kind: type, scheduler: object) -> DiffusionPipeline:
    tokenizer = tokenizer_builders.t5(120)
    transformer = PixArtTransformer2DModel(
        sample_size=8,
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        cross_attention_dim=16,
        caption_channels=WIDTH,
        norm_num_groups=1,
        use_additional_conditions=False,
    )
    return kind(
        tokenizer=tokenizer,
        text_encoder=components.t5(tokenizer),
        vae=components.autoencoder(),
        transformer=transformer,
        scheduler=scheduler,
    )


def pixart_alpha() -> DiffusionPipeline:
    return _pixart(PixArtAlphaPipeline, DPMSolverMultistepScheduler())


def pixart_alpha_lcm() -> DiffusionPipeline:
    return _pixart(PixArtAlphaPipeline, LCMScheduler())


def pixart_sigma() -> DiffusionPipeline:
    return _pixart(PixArtSigmaPipeline, DPMSolverMultistepScheduler())


def lumina2() -> DiffusionPipeline:
    tokenizer = tokenizer_builders.gemma()
    transformer = Lumina2Transformer2DModel(
        sample_size=8,
        in_channels=4,
        hidden_size=24,
        num_layers=1,
        num_refiner_layers=1,
        num_attention_heads=3,
        num_kv_heads=1,
        multiple_of=2,
        axes_dim_rope=(4, 2, 2),
        axes_lens=(512, 64, 64),
        cap_feat_dim=WIDTH,
    )
    return Lumina2Pipeline(
        transformer=transformer,
        scheduler=_flow(shift=6.0),
        vae=components.flux_autoencoder(),
        text_encoder=components.gemma2(tokenizer),
        tokenizer=tokenizer,
    )


def auraflow() -> DiffusionPipeline:
    tokenizer = tokenizer_builders.t5(256)
    transformer = AuraFlowTransformer2DModel(
        sample_size=32,
        in_channels=4,
        out_channels=4,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=WIDTH,
        pos_embed_max_size=256,
    )
    return AuraFlowPipeline(
        tokenizer=tokenizer,
        text_encoder=components.umt5(tokenizer),
        vae=components.autoencoder(scaling=0.13025),
        transformer=transformer,
        scheduler=_flow(shift=1.73),
    )


def chroma() -> DiffusionPipeline:
    tokenizer = tokenizer_builders.t5()
    transformer = ChromaTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
        approximator_num_channels=16,
        approximator_hidden_dim=32,
        approximator_layers=1,
    )
    return ChromaPipeline(
        scheduler=_flow(use_dynamic_shifting=True),
        vae=components.flux_autoencoder(),
        text_encoder=components.t5(tokenizer),
        tokenizer=tokenizer,
        transformer=transformer,
    )


def cogview4() -> DiffusionPipeline:
    tokenizer = tokenizer_builders.glm()
    transformer = CogView4Transformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=4,
        num_attention_heads=4,
        text_embed_dim=WIDTH,
        time_embed_dim=8,
        condition_dim=4,
        rope_axes_dim=(16, 16),
    )
    return CogView4Pipeline(
        tokenizer=tokenizer,
        text_encoder=components.glm(tokenizer),
        vae=components.autoencoder(),
        transformer=transformer,
        scheduler=_flow(base_shift=0.25, max_shift=0.75, use_dynamic_shifting=True, time_shift_type="linear"),
    )


def hunyuan_dit() -> DiffusionPipeline:
    first, second = tokenizer_builders.bert(), tokenizer_builders.t5(256)
    transformer = HunyuanDiT2DModel(
        sample_size=8,
        num_layers=4,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=4,
        in_channels=4,
        hidden_size=32,
        cross_attention_dim=WIDTH,
        cross_attention_dim_t5=WIDTH,
        pooled_projection_dim=16,
    )
    return HunyuanDiTPipeline(
        vae=components.autoencoder(scaling=0.13025),
        text_encoder=components.bert(first),
        tokenizer=first,
        transformer=transformer,
        scheduler=DDPMScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.03,
            prediction_type="v_prediction",
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        text_encoder_2=components.t5(second),
        tokenizer_2=second,
    )


BUILDERS: dict[str, Callable[[], DiffusionPipeline]] = {
    "flux": flux,
    "flux-schnell": flux_schnell,
    "flux-fill": flux_fill,
    "flux-kontext": flux_kontext,
    "flux2": flux2,
    "flux2-klein": flux2_klein,
    "flux2-klein-distilled": flux2_klein_distilled,
    "qwen-image": qwen_image,
    "qwen-image-edit": qwen_image_edit,
    "qwen-image-edit-plus": qwen_image_edit_plus,
    "z-image": z_image,
    "z-image-turbo": z_image_turbo,
    "z-image-omni": z_image_omni,
    "sana": sana,
    "sana-sprint": sana_sprint,
    "pixart-alpha": pixart_alpha,
    "pixart-alpha-lcm": pixart_alpha_lcm,
    "pixart-sigma": pixart_sigma,
    "lumina2": lumina2,
    "auraflow": auraflow,
    "chroma": chroma,
    "cogview4": cogview4,
    "hunyuan-dit": hunyuan_dit,
}
