"""Request bodies of txt2img and img2img, as clients of A1111 and SD.Next send them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from safelight.generation.reference import MAX_REFERENCES
from safelight.generation.request import (
    MAX_CONTROLS,
    MAX_HIRES_SCALE,
    MAX_SEED,
    Count,
    Fraction,
    MaskBlur,
    MaskPadding,
    PromptText,
    Scale,
    Side,
    Steps,
)

SeedField = Annotated[int, Field(ge=-1, le=MAX_SEED)]
PixelCount = Annotated[int, Field(ge=0, le=16384)]
DENOISING_STRENGTH = 0.75
MASK_BLUR = 4
"""A1111's defaults, the blur in pixels."""
Name = Annotated[str, Field(max_length=500)]
Base64 = Annotated[str, Field(min_length=1, description="Base64 or a data URI.")]


class LenientBody(BaseModel):
    """A lenient body, as in A1111: null means absent, and unknown fields are kept."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, body: object) -> object:
        """Drop nulls, and a mask that is an empty string."""
        if not isinstance(body, Mapping):
            return body
        return {
            name: value
            for name, value in body.items()
            if value is not None and not (name == "mask" and value == "")
        }


class IPAdapterItem(LenientBody):
    """An IP-Adapter of SD.Next, with its pictures."""

    adapter: Name = Field(
        "Base", description="From /sdapi/v1/ip-adapters, or SD.Next's name of a published one."
    )
    images: list[Base64] = Field(default_factory=list, max_length=MAX_CONTROLS, description="Its pictures.")
    image: Base64 | None = Field(None, description="The old name of images, for one.")
    masks: list[Base64] = Field(
        default_factory=list,
        max_length=MAX_CONTROLS,
        description="White where each counts; none: everywhere.",
    )
    scale: float = Field(0.5, ge=0, le=4, allow_inf_nan=False, description="How much it counts.")
    start: Fraction = Field(0.0, description="Share of the steps after which it begins.")
    end: Fraction = Field(1.0, description="Share of the steps after which it ends.")
    crop: bool = Field(False, description="Cut out the face: not supported.")


class GenerationParameters(LenientBody):
    """Fields that txt2img and img2img share. ``a1111_refusals`` checks all other fields."""

    prompt: PromptText = Field("", description="What to generate.")
    negative_prompt: PromptText = Field("", description="What to avoid.")
    styles: list[Name] | None = Field(None, description="Names from /sdapi/v1/prompt-styles.")
    seed: SeedField | None = Field(-1, description="-1: random.")
    subseed: SeedField | None = Field(-1, description="-1: random.")
    subseed_strength: Fraction = Field(0.0, description="Share of the subseed's noise, 0 to 1.")
    sampler_name: Name | None = Field(
        None, description="From /sdapi/v1/samplers; the checkpoint's default when not given."
    )
    sampler_index: Name | None = Field(
        None, description="The old name of sampler_name, which takes precedence."
    )
    scheduler: Name | None = Field(None, description="From /sdapi/v1/schedulers.")
    schedulers_sigma: Name | None = Field(
        None, description="SD.Next's name of scheduler; takes precedence over it."
    )
    batch_size: Count = Field(1, description="Times n_iter: how many pictures.")
    n_iter: Count = Field(1, description="Times batch_size: how many pictures.")
    steps: Steps | None = Field(None, description="The checkpoint's default when not given.")
    cfg_scale: Scale | None = Field(None, description="The checkpoint's default when not given.")
    distilled_cfg_scale: Scale | None = Field(
        None, description="Forge: guidance of checkpoints with embedded guidance; without effect on others."
    )
    cfg_true: Scale | None = Field(
        None, description="SD.Next: classifier-free guidance beside the embedded guidance of Flux."
    )
    cfg_end: Fraction = Field(1.0, description="SD.Next: share of the steps after which guidance ends.")
    diffusers_guidance_rescale: Fraction = Field(0.0, description="SD.Next: guidance rescale.")
    pag_scale: Scale = Field(0.0, description="SD.Next: perturbed-attention guidance; 0 is none.")
    pag_adaptive: Fraction | None = Field(
        None, description="SD.Next: how much pag_scale decreases at each timestep."
    )
    cfg_adaptive: Fraction | None = Field(None, description="SD.Next's later name of pag_adaptive.")
    image_cfg_scale: Scale | None = Field(
        None, description="Guidance by the picture, of InstructPix2Pix; without effect on others."
    )
    clip_skip: Annotated[float, Field(ge=0, le=12, allow_inf_nan=False)] | None = Field(
        None,
        description="SD.Next: 1 is the last layer, and so is 0; a fraction is rounded to the nearest layer.",
    )
    width: Side | None = Field(None, description="Pixels; the checkpoint's default when not given.")
    height: Side | None = Field(None, description="Pixels; the checkpoint's default when not given.")
    eta: Fraction | None = Field(None, description="For samplers that use it.")
    refiner_checkpoint: Name | None = Field(None, description="A checkpoint for the last steps.")
    refiner_switch_at: Fraction | None = Field(
        None, description="Share of the denoising after which it takes over, 0.8 when not given."
    )
    tiling: bool = Field(False, description="A picture whose copies fit side by side; for U-Nets.")
    diffusers_generator_device: Literal["CPU", "GPU", "Unset"] | None = Field(
        None, description="SD.Next: where noise is drawn; the option when not given."
    )
    sd_model_checkpoint: Name | None = Field(None, description="SD.Next: checkpoint for this request.")
    sd_vae: Name | None = Field(None, description="SD.Next: autoencoder for this request.")
    override_settings: dict[str, JsonValue] = Field({}, description="Options for this request.")
    override_settings_restore_afterwards: bool = Field(
        True, description="False: these options stay set for this user."
    )
    alwayson_scripts: dict[str, JsonValue] = Field(
        {},
        description="Empty, scripts that are switched off, or A1111's built-in scripts that agree with the fields.",
    )
    ip_adapter: list[IPAdapterItem] | None = Field(
        None, max_length=MAX_CONTROLS, description="SD.Next: pictures that count as parts of the prompt do."
    )
    send_images: bool = Field(
        True, description="False: only info is returned; the pictures are in the gallery."
    )
    force_task_id: Name | None = Field(None, description="A name for this request in /internal/progress.")

    @property
    def count(self) -> int:
        """How many images to generate."""
        return self.batch_size * self.n_iter


class Txt2ImgBody(GenerationParameters):
    """The body of txt2img."""

    denoising_strength: Fraction | None = Field(
        None, description=f"Of the second pass, 0 to 1; {DENOISING_STRENGTH} when not given."
    )
    enable_hr: bool = Field(False, description="Run a second pass at a larger size.")
    hr_scale: float = Field(
        2.0,
        ge=0,
        le=MAX_HIRES_SCALE,
        allow_inf_nan=False,
        description="Factor on width and height; 1: no second pass.",
    )
    hr_upscaler: Name | None = Field(None, description="Latent, Lanczos, or from /sdapi/v1/upscalers.")
    hr_second_pass_steps: int = Field(
        0, ge=0, le=1000, description="All of them are run; 0: as many as the first pass."
    )
    hr_resize_x: PixelCount = Field(0, description="Width of the second pass instead of hr_scale.")
    hr_resize_y: PixelCount = Field(0, description="Height of the second pass instead of hr_scale.")
    hr_sampler_name: Name | None = Field(
        None, description="Sampler of the second pass; the first's when not given."
    )
    hr_scheduler: Name | None = Field(
        None, description="Scheduler of the second pass; the first's when not given."
    )
    hr_cfg: Scale | None = Field(
        None, description="Forge: guidance of the second pass; the first's when not given."
    )
    hr_distilled_cfg: Scale | None = Field(
        None,
        description="Forge: the same of checkpoints with embedded guidance; without effect on others.",
    )
    hr_prompt: PromptText = Field("", description="Prompt of the second pass; empty: the first's.")
    hr_negative_prompt: PromptText = Field(
        "", description="Negative prompt of the second pass; empty: the first's."
    )
    hr_checkpoint_name: Name | None = Field(
        None, description="Checkpoint of the second pass; the first's when not given."
    )


class Img2ImgBody(GenerationParameters):
    """The body of img2img."""

    init_images: list[Base64] = Field(
        min_length=1,
        max_length=MAX_REFERENCES,
        description="One picture; several for checkpoints that look at references.",
    )
    resize_mode: int = Field(0, ge=0, le=3, description="0: stretch, 1: crop, 2: fill; 3 is refused.")
    denoising_strength: Fraction = Field(DENOISING_STRENGTH, description="Denoising strength, 0 to 1.")
    mask: Base64 | None = Field(None, description="White, or opaque, where the picture is repainted.")
    mask_blur: MaskBlur | None = Field(None, description=f"Pixels; {MASK_BLUR} when not given.")
    mask_blur_x: MaskBlur | None = Field(None, description="Equal to mask_blur_y.")
    mask_blur_y: MaskBlur | None = Field(None, description="Equal to mask_blur_x.")
    mask_round: bool = Field(True, description="Threshold the mask's opacity to fully opaque or transparent.")
    inpainting_fill: int = Field(0, ge=0, le=3, description="0: fill, 1: original, 2: noise; 3 is refused.")
    inpaint_full_res: bool = Field(True, description="Generate only the masked part, at the full size.")
    inpaint_full_res_padding: MaskPadding = Field(0, description="Pixels around the masked part.")
    inpainting_mask_invert: int = Field(0, ge=0, le=1, description="1: repaint where the mask is black.")
    include_init_images: bool = Field(False, description="Return the initial picture in parameters.")
