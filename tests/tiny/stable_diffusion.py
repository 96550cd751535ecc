"""Tiny Stable Diffusion checkpoints: U-Nets, and SD3's transformer."""

from __future__ import annotations

from collections.abc import Callable

from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    EDMDPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    KolorsPipeline,
    LCMScheduler,
    PNDMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLInstructPix2PixPipeline,
    StableDiffusionXLPipeline,
    TCDScheduler,
    UNet2DConditionModel,
)
from tests.tiny import components, tokenizer_builders

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def unet(in_channels: int = 4, **config: object) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=(16, 32),
        layers_per_block=1,
        in_channels=in_channels,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=8,
        **{"sample_size": 8, "cross_attention_dim": components.WIDTH, "attention_head_dim": 4, **config},
    )


def _sd1(
    net: UNet2DConditionModel, scheduler: object = None, kind: type = StableDiffusionPipeline
) -> DiffusionPipeline:
    tokenizer = tokenizer_builders.clip()
    return kind(
        vae=components.autoencoder(),
        text_encoder=components.clip(tokenizer),
        tokenizer=tokenizer,
        unet=net,
        scheduler=scheduler or PNDMScheduler(**BETAS, skip_prk_steps=True),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sd1() -> DiffusionPipeline:
    return _sd1(unet())


def sd1_inpaint() -> DiffusionPipeline:
    return _sd1(unet(9), kind=StableDiffusionInpaintPipeline)


def sd1_instruct_pix2pix() -> DiffusionPipeline:
    scheduler = EulerAncestralDiscreteScheduler(**BETAS)
    return _sd1(unet(8), scheduler, StableDiffusionInstructPix2PixPipeline)


def sd1_lcm() -> DiffusionPipeline:
    return _sd1(unet(time_cond_proj_dim=8), LCMScheduler(**BETAS))


def sd1_lcm_cfg() -> DiffusionPipeline:
    return _sd1(unet(), LCMScheduler(**BETAS))


def _sd2(scheduler: object, kind: type = StableDiffusionPipeline, in_channels: int = 4) -> DiffusionPipeline:
    tokenizer = tokenizer_builders.clip(pad="!")
    return kind(
        vae=components.autoencoder(),
        text_encoder=components.clip(tokenizer, "gelu", 4),
        tokenizer=tokenizer,
        unet=unet(in_channels, attention_head_dim=(2, 4), use_linear_projection=True),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sd2() -> DiffusionPipeline:
    """The 768-pixel model, which predicts velocity."""
    return _sd2(
        DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False, prediction_type="v_prediction")
    )


def sd2_base() -> DiffusionPipeline:
    return _sd2(DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False))


def sd2_inpaint() -> DiffusionPipeline:
    return _sd2(PNDMScheduler(**BETAS, skip_prk_steps=True), StableDiffusionInpaintPipeline, 9)


def sd2_turbo() -> DiffusionPipeline:
    return _sd2(EulerDiscreteScheduler(**BETAS, timestep_spacing="trailing"))


def _sdxl_unet(ids: int, width: int, in_channels: int = 4, **config: object) -> UNet2DConditionModel:
    return unet(
        in_channels,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(2, 1),
        cross_attention_dim=width,
        projection_class_embeddings_input_dim=components.WIDTH + ids * 8,
        **config,
    )


def _sdxl(
    kind: type = StableDiffusionXLPipeline, scheduler: object = None, in_channels: int = 4, **config: object
) -> DiffusionPipeline:
    first, second = tokenizer_builders.clip(), tokenizer_builders.clip(pad="!")
    return kind(
        vae=components.autoencoder(scaling=0.13025),
        text_encoder=components.clip(first),
        text_encoder_2=components.clip_projected(second),
        tokenizer=first,
        tokenizer_2=second,
        unet=_sdxl_unet(6, 2 * components.WIDTH, in_channels, **config),
        scheduler=scheduler or EulerDiscreteScheduler(**BETAS),
    )


def sdxl() -> DiffusionPipeline:
    return _sdxl()


def sdxl_inpaint() -> DiffusionPipeline:
    return _sdxl(StableDiffusionXLInpaintPipeline, in_channels=9)


def sdxl_instruct_pix2pix() -> DiffusionPipeline:
    return _sdxl(StableDiffusionXLInstructPix2PixPipeline, in_channels=8)


def sdxl_lcm() -> DiffusionPipeline:
    return _sdxl(scheduler=LCMScheduler(**BETAS), time_cond_proj_dim=8)


def sdxl_lcm_cfg() -> DiffusionPipeline:
    return _sdxl(scheduler=LCMScheduler(**BETAS))


def sdxl_turbo() -> DiffusionPipeline:
    return _sdxl(scheduler=EulerAncestralDiscreteScheduler(**BETAS, timestep_spacing="trailing"))


def sdxl_lightning() -> DiffusionPipeline:
    scheduler = EulerDiscreteScheduler(**BETAS, timestep_spacing="trailing")
    return _sdxl(scheduler=scheduler, sample_size=128)


def sdxl_hyper() -> DiffusionPipeline:
    return _sdxl(scheduler=TCDScheduler(**BETAS))


def sdxl_playground() -> DiffusionPipeline:
    return _sdxl(scheduler=EDMDPMSolverMultistepScheduler())


def sd1_hyper() -> DiffusionPipeline:
    return _sd1(unet(), TCDScheduler(**BETAS))


def sdxl_refiner() -> DiffusionPipeline:
    tokenizer = tokenizer_builders.clip(pad="!")
    return StableDiffusionXLImg2ImgPipeline(
        vae=components.autoencoder(scaling=0.13025),
        text_encoder=None,
        text_encoder_2=components.clip_projected(tokenizer),
        tokenizer=None,
        tokenizer_2=tokenizer,
        unet=_sdxl_unet(5, components.WIDTH),
        scheduler=EulerDiscreteScheduler(**BETAS),
        requires_aesthetics_score=True,
        force_zeros_for_empty_prompt=False,
    )


def kolors() -> DiffusionPipeline:
    tokenizer = tokenizer_builders.chatglm()
    betas = BETAS | {"beta_end": 0.014, "num_train_timesteps": 1100}
    return KolorsPipeline(
        vae=components.autoencoder(scaling=0.13025),
        text_encoder=components.chatglm(tokenizer),
        tokenizer=tokenizer,
        unet=_sdxl_unet(6, 16, encoder_hid_dim=components.WIDTH, encoder_hid_dim_type="text_proj"),
        scheduler=EulerDiscreteScheduler(**betas, timestep_spacing="leading"),
    )


def sd3(**config: object) -> DiffusionPipeline:
    first, second, third = (
        tokenizer_builders.clip(),
        tokenizer_builders.clip(pad="!"),
        tokenizer_builders.t5(),
    )
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=2 * components.WIDTH,
        caption_projection_dim=32,
        pooled_projection_dim=2 * components.WIDTH,
        pos_embed_max_size=32,
        **config,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=components.flux_autoencoder(16),
        text_encoder=components.clip_projected(first, "quick_gelu"),
        tokenizer=first,
        text_encoder_2=components.clip_projected(second),
        tokenizer_2=second,
        text_encoder_3=components.t5(third, 2 * components.WIDTH),
        tokenizer_3=third,
    )


def sd35_large() -> DiffusionPipeline:
    return sd3(qk_norm="rms_norm")


def sd35_medium() -> DiffusionPipeline:
    return sd3(qk_norm="rms_norm", dual_attention_layers=(0,))


BUILDERS: dict[str, Callable[[], DiffusionPipeline]] = {
    "sd1": sd1,
    "sd1-inpaint": sd1_inpaint,
    "sd1-instruct-pix2pix": sd1_instruct_pix2pix,
    "sd1-lcm": sd1_lcm,
    "sd1-lcm-cfg": sd1_lcm_cfg,
    "sd2": sd2,
    "sd2-base": sd2_base,
    "sd2-inpaint": sd2_inpaint,
    "sd2-turbo": sd2_turbo,
    "sdxl": sdxl,
    "sdxl-inpaint": sdxl_inpaint,
    "sdxl-instruct-pix2pix": sdxl_instruct_pix2pix,
    "sdxl-lcm": sdxl_lcm,
    "sdxl-lcm-cfg": sdxl_lcm_cfg,
    "sdxl-turbo": sdxl_turbo,
    "sdxl-lightning": sdxl_lightning,
    "sdxl-hyper": sdxl_hyper,
    "sdxl-playground": sdxl_playground,
    "sd1-hyper": sd1_hyper,
    "sdxl-refiner": sdxl_refiner,
    "kolors": kolors,
    "sd3": sd3,
    "sd3-35-large": sd35_large,
    "sd3-35-medium": sd35_medium,
}
