"""Requests for pictures: one class for every kind of generation.

Text-to-image, image-to-image, inpainting and outpainting are the same request with more fields. Every value is
checked here, before any work; what depends on the checkpoint (samplers, sizes) is checked when the checkpoint is
known.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SkipValidation,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from safelight.errors import (
    AboveMaximumError,
    FieldConflictError,
    FieldError,
    FieldMissingError,
    PictureNeededError,
    PromptError,
    field_error,
)
from safelight.generation.adapters.strength import MAX_STRENGTH, SCHEDULE_PATTERN, parse_strength
from safelight.generation.fields import CliOption, FormField, RequestField
from safelight.generation.prompts.adapter_tags import adapter_fields
from safelight.generation.prompts.composition import prompt_parts
from safelight.generation.prompts.unsupported import check_supported
from safelight.generation.quality import Quality, StepCacheKind
from safelight.generation.reference import MAX_REFERENCES, Reference
from safelight.images import ImageSource
from safelight.images.fields import ImageField
from safelight.models.controls.kinds import ControlKind, parse_kind
from safelight.validation import Problem, first_problem

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Scale = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Steps = Annotated[int, Field(ge=1, le=1000)]
Side = Annotated[int, Field(ge=16, le=16384)]
Count = Annotated[int, Field(ge=1, le=1000)]
MaskBlur = Annotated[int, Field(ge=0, le=256)]
MaskPadding = Annotated[int, Field(ge=0, le=4096)]
NoiseSource = Literal["cpu", "gpu"]
Seamless = Literal["none", "both", "horizontal", "vertical"]
DEFAULT_NOISE_SOURCE: NoiseSource = "cpu"
"""What a record without a noise source was generated with."""
Extension = Annotated[int, Field(ge=0, le=8192)]
MAX_PROMPT_LENGTH = 10_000
"""Maximum length of a prompt in characters, as written and as expanded."""
PromptText = Annotated[str, Field(max_length=MAX_PROMPT_LENGTH, pattern="^[^\\x00]*$")]
Name = Annotated[str, Field(max_length=300, pattern="^[^\\x00]*$")]
"""A name for a lookup. The pattern also excludes lone surrogates, which cannot be encoded."""
CheckpointName = Annotated[str, Field(max_length=4096, pattern="^[^\\x00]*$")]
MAX_STYLES = 100
MAX_ADAPTERS = 100
MAX_TEXT_ENCODERS = 4
MAX_CONTROLS = 8
MAX_REGIONS = 8
MAX_HIRES_SCALE = MAX_UPSCALE = 8
"""Largest factor on width and height of a second pass, and of upscaling."""
DEFAULT_SIDE, DEFAULT_STEPS = 512, 20
"""Assumed where neither the request nor the checkpoint says."""
MAX_SEED = 2**63 - 1
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]

InputImage = Annotated[ImageSource | None, SkipValidation, ImageField()]
"""Anything that ``images.decode`` accepts, which also checks it. Moderation judges it before it is used."""
InputMask = Annotated[ImageSource | None, SkipValidation, ImageField(judged=False)]
"""The same for a mask, which is not judged."""
MASK_BACKGROUND = (0, 0, 0)
"""The colour (red, green, blue) of a mask's transparent parts: nothing is generated there."""


class Mode(StrEnum):
    """The kind of a run."""

    TEXT = "text-to-image"
    IMAGE = "image-to-image"
    INPAINT = "inpainting"


DEFAULT_STRENGTH = {Mode.IMAGE: 0.75, Mode.INPAINT: 1.0}
"""Default denoising strength."""


class RequestPart(BaseModel):
    """A frozen part of a request that rejects unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Variation(RequestPart):
    """A mixture with another seed's noise (A1111's subseed)."""

    seed: Annotated[
        Seed, RequestField(form=FormField(control="text", aliases=("subseed",)), infotext="Variation seed")
    ] = Field(description="The other seed; picture i of a batch takes seed + i.")
    strength: Annotated[
        Fraction,
        RequestField(
            form=FormField(step=0.05, initial=0, aliases=("subseed strength",)),
            infotext="Variation seed strength",
            infotext_aliases=("Variation strength",),
        ),
    ] = Field(description="Fraction of the other seed's noise, 0 to 1; spherically interpolated.")
    same_seed: bool = Field(
        False, description="Keep the request's own seed for all pictures, so that only this one counts up."
    )

    def for_picture(self, index: int) -> Variation:
        """The variation of picture `index` of a batch, for a request of its own."""
        return self.model_copy(update={"seed": self.seed + index, "same_seed": False})


class Inpaint(RequestPart):
    """How a masked part is generated."""

    blur: Annotated[
        MaskBlur,
        RequestField(
            group="edit",
            form=FormField(control="editor", maximum=64),
            infotext="Mask blur",
            cli=CliOption("--blur", metavar="PIXELS"),
        ),
    ] = Field(4, description="Gaussian blur of the mask's edge, in pixels.")
    padding: Annotated[
        MaskPadding,
        RequestField(
            group="edit",
            form=FormField(step=4, maximum=256),
            infotext="Masked area padding",
            cli=CliOption("--padding", metavar="PIXELS"),
        ),
    ] = Field(32, description="Pixels around the mask that are generated too, with only_masked.")
    only_masked: Annotated[
        bool,
        RequestField(
            group="edit",
            form=FormField(aliases=("inpaint area", "inpaint at full resolution")),
            cli=CliOption("--only-masked"),
        ),
    ] = Field(False, description="Generate only the masked part, at full size.")
    fill: Annotated[
        Literal["original", "blur", "noise"],
        RequestField(
            group="edit", form=FormField(aliases=("masked content",)), cli=CliOption("--fill", metavar="NAME")
        ),
    ] = Field("original", description="What the masked part contains at first: original, blur or noise.")
    invert: Annotated[bool, RequestField(group="edit", cli=CliOption("--invert"))] = Field(
        False, description="Generate where the mask is black instead."
    )
    soft: Annotated[
        bool,
        RequestField(
            form=FormField(aliases=("soft inpainting", "differential diffusion")),
            group="edit",
            infotext="Soft inpainting enabled",
            cli=CliOption("--soft"),
            omitted_at_default=True,
        ),
    ] = Field(
        False,
        description="Soft inpainting (Levin & Fried, 2023): a grey mask is the denoising strength of each pixel.",
    )


def _extension(side: str) -> RequestField:
    return RequestField(
        group="edit", form=FormField(control="editor"), cli=CliOption(f"--{side}", metavar="PIXELS")
    )


class Outpaint(RequestPart):
    """How far a picture is extended beyond its edges, in pixels."""

    left: Annotated[Extension, _extension("left")] = Field(0, description="Extend beyond the left edge.")
    right: Annotated[Extension, _extension("right")] = Field(0, description="Extend beyond the right edge.")
    top: Annotated[Extension, _extension("top")] = Field(0, description="Extend beyond the top edge.")
    bottom: Annotated[Extension, _extension("bottom")] = Field(
        0, description="Extend beyond the bottom edge."
    )

    def enlarged_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of a picture of this size after outpainting, in pixels."""
        return width + self.left + self.right, height + self.top + self.bottom


def _check_strength(value: float | str) -> float | str:
    parse_strength(value)
    return value


AdapterStrength = Annotated[
    Annotated[float, Field(ge=-MAX_STRENGTH, le=MAX_STRENGTH, allow_inf_nan=False)]
    | Annotated[str, Field(max_length=2000, pattern=SCHEDULE_PATTERN)],
    AfterValidator(_check_strength),
]
"""A number, or points between which it changes from step to step: ``0.2@0,1@0.5``."""


class Adapter(RequestPart):
    """A LoRA or another file that changes the networks; as text, what ``<lora:…>`` has between its brackets."""

    name: Name = Field(
        min_length=1, description="Its name: that of its file, with or without folder and suffix."
    )
    strength: AdapterStrength = Field(
        1.0,
        description="1 is as it was trained, 0 is without it; or points between which it changes: 0.2@0,1@0.5 goes "
        "from 0.2 at the first step to 1 in the middle. Positions are fractions of the pass's steps, or steps if one "
        "is above 1.",
    )
    text_encoder: AdapterStrength | None = Field(
        None,
        description="Strength in the text encoders, which read the prompt before the first step; strength when not "
        "given.",
    )
    denoiser: AdapterStrength | None = Field(
        None, description="Strength in the denoiser; strength when not given."
    )
    input_blocks: AdapterStrength | None = Field(
        None, description="Strength in a U-Net's input blocks; that of the denoiser when not given."
    )
    middle_block: AdapterStrength | None = Field(
        None, description="Strength in a U-Net's middle block, likewise."
    )
    output_blocks: AdapterStrength | None = Field(
        None, description="Strength in a U-Net's output blocks, likewise."
    )

    @model_validator(mode="before")
    @classmethod
    def _read_text(cls, value: object) -> object:
        """Read an adapter that is given as text: ``name:0.8``, ``name:te=0.5:unet=0.8``."""
        if not isinstance(value, str):
            return value
        try:
            return adapter_fields(value)
        except PromptError as error:
            raise ValueError(error.message) from error

    @property
    def has_blocks(self) -> bool:
        """Whether blocks of the denoiser have strengths of their own."""
        return any(each is not None for each in (self.input_blocks, self.middle_block, self.output_blocks))


class Hires(RequestPart):
    """A second pass at a larger size."""

    scale: Annotated[
        float,
        RequestField(
            group="hires",
            form=FormField(step=0.25, minimum=1.25, maximum=4, aliases=("hires fix", "highres fix")),
            infotext="Hires upscale",
            infotext_aliases=("Hires scale",),
            cli=CliOption("--hires", metavar="FACTOR"),
        ),
    ] = Field(
        2.0,
        gt=1,
        le=MAX_HIRES_SCALE,
        allow_inf_nan=False,
        description="Factor on width and height in a second pass.",
    )
    upscaler: Annotated[
        Name,
        RequestField(
            group="hires",
            form=FormField(control="choice"),
            infotext="Hires upscaler",
            cli=CliOption("--hires-upscaler", metavar="NAME"),
        ),
    ] = Field("latent", description="latent, lanczos, or an upscaler's name.")
    strength: Annotated[
        Fraction,
        RequestField(
            group="hires",
            form=FormField(step=0.05),
            infotext="Hires strength",
            cli=CliOption("--hires-strength", metavar="X"),
        ),
    ] = Field(0.6, description="Denoising strength of the second pass, 0 to 1.")
    steps: Annotated[
        Steps | None,
        RequestField(
            group="hires",
            form=FormField(step=1, minimum=0, maximum=100, initial=0, unset=0),
            infotext="Hires steps",
        ),
    ] = Field(None, description="Steps of the second pass; as many as the first's when not given.")
    all_steps: Annotated[bool, RequestField(group="hires")] = Field(
        False,
        description="Run all of these steps, as A1111 counts them; otherwise a fraction of them, the strength.",
    )
    sampler: Annotated[Name | None, RequestField(group="hires", infotext="Hires sampler")] = Field(
        None,
        description="Sampler of the second pass, with its schedule in its name if it is to have one (DDIM Karras); "
        "sampler and schedule of the first when not given.",
    )
    prompt: Annotated[
        PromptText | None,
        RequestField(
            form=FormField(),
            group="hires",
            infotext="Hires prompt",
            cli=CliOption("--hires-prompt", metavar="TEXT"),
            omitted_at_default=True,
        ),
    ] = Field(
        None,
        description="Prompt of the second pass, whose tags are its adapters; the first's when not given.",
    )
    negative_prompt: Annotated[
        PromptText | None,
        RequestField(
            form=FormField(),
            group="hires",
            infotext="Hires negative prompt",
            cli=CliOption("--hires-negative", metavar="TEXT"),
            omitted_at_default=True,
        ),
    ] = Field(None, description="Negative prompt of the second pass; the first's when not given.")
    adapters: Annotated[tuple[Adapter, ...] | None, RequestField(group="hires", omitted_at_default=True)] = (
        Field(
            None,
            max_length=MAX_ADAPTERS,
            description="Adapters of the second pass, beside those of its prompt; the request's when not given.",
        )
    )
    guidance_scale: Annotated[
        Scale | None,
        RequestField(
            form=FormField(step=0.5, minimum=0, maximum=30, initial=0, unset=0, aliases=("hires CFG",)),
            group="hires",
            infotext="Hires CFG Scale",
            infotext_aliases=("Hires CFG scale",),
            cli=CliOption("--hires-guidance", metavar="X"),
            omitted_at_default=True,
        ),
    ] = Field(None, description="Guidance scale of the second pass; the first's when not given.")
    checkpoint: Annotated[
        CheckpointName | None,
        RequestField(
            form=FormField(control="choice", aliases=("hires checkpoint",)),
            group="hires",
            cli=CliOption("--hires-checkpoint", metavar="NAME"),
            omitted_at_default=True,
        ),
    ] = Field(
        None,
        description="Checkpoint of the second pass, of any family unless latents are upscaled; the first's when not "
        "given.",
    )


class Refiner(RequestPart):
    """A checkpoint that does the last steps of the first pass."""

    checkpoint: Annotated[
        CheckpointName,
        RequestField(
            form=FormField(control="choice", initial="", aliases=("SDXL refiner",)),
            cli=CliOption("--refiner", metavar="NAME"),
        ),
    ] = Field(
        min_length=1,
        description="Stable Diffusion XL's refiner, or another checkpoint with the same latents as the first.",
    )
    switch_at: Annotated[
        Fraction,
        RequestField(
            form=FormField(step=0.05, aliases=("refiner switch at",)),
            infotext="Refiner switch at",
            infotext_aliases=("Refiner start",),
            cli=CliOption("--refiner-switch", metavar="X"),
        ),
    ] = Field(0.8, description="Fraction of the denoising, by timesteps, after which it takes over.")


class PreprocessOptions(RequestPart):
    """What makes the map that a control needs of a picture."""

    name: Name = Field(description="GET /v1/preprocessors lists them.")
    parameters: dict[str, float | int | bool | str] = Field(
        {}, description="Those of the preprocessor, by name."
    )
    resolution: int | None = Field(
        None,
        ge=64,
        le=2048,
        description="Shorter side of the map in pixels; that which the picture needs when not given.",
    )


class Control(RequestPart):
    """A picture that steers the denoiser, and the network that reads it."""

    kind: Annotated[ControlKind | None, BeforeValidator(parse_kind)] = Field(
        None,
        description="What the picture shows: canny, depth, pose …; what the model's name says when not given.",
    )
    model: CheckpointName | None = Field(
        None, description="A ControlNet or adapter: its name; the first one for the kind when not given."
    )
    image: InputImage = Field(None, description="The picture; the initial picture when not given.")
    preprocessor: PreprocessOptions | None = Field(
        None, description="Makes the map of the picture; the picture is the map when not given."
    )
    weight: Annotated[
        float,
        RequestField(form=FormField(control="slider", step=0.05, maximum=2, aliases=("control weight",))),
    ] = Field(1.0, ge=0, le=4, allow_inf_nan=False, description="How much it counts; 0 is not at all.")
    start: Annotated[
        Fraction, RequestField(form=FormField(step=0.01, aliases=("starting control step", "guidance start")))
    ] = Field(0.0, description="Fraction of the steps after which it begins.")
    end: Annotated[
        Fraction, RequestField(form=FormField(step=0.01, aliases=("ending control step", "guidance end")))
    ] = Field(1.0, description="Fraction of the steps after which it ends.")
    mode: Annotated[
        Literal["balanced", "prompt", "guess"],
        RequestField(form=FormField(aliases=("control mode", "guess mode"))),
    ] = Field(
        "balanced",
        description="prompt: it counts less for fine layers, so that the prompt counts more; guess: likewise, and the "
        "negative prompt goes without it.",
    )
    mask: InputMask = Field(None, description="White where it counts; everywhere when not given.")
    resize: Annotated[
        Literal["crop", "fill", "stretch"],
        RequestField(form=FormField(aliases=("resize mode", "crop and resize", "just resize"))),
    ] = Field("crop", description="How a picture of another shape is made to fit.")

    @model_validator(mode="after")
    def _check_control(self) -> Self:
        if self.kind is None and self.model is None:
            text = "a control needs its kind or its model"
            raise _problem(FieldMissingError, text, "kind")
        if self.start > self.end:
            text = "a control's start lies after its end"
            raise _problem(FieldConflictError, text, "start", other="end")
        return self


class Region(RequestPart):
    """A part of the picture with a prompt of its own."""

    prompt: PromptText = Field(
        description="What is there, beside the negative prompt, which counts everywhere."
    )
    mask: InputMask = Field(None, description="White where it counts, grey where it counts in part.")
    weight: Annotated[float, RequestField(form=FormField(step=0.05, minimum=0.05))] = Field(
        1.0,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="How much of the picture's prompt it takes the place of.",
    )

    @model_validator(mode="after")
    def _check_region(self) -> Self:
        if self.mask is None:
            raise _problem(FieldMissingError, "a region needs its mask", "mask")
        return self


class PromptAndSampler(RequestPart):
    """The first fields of a request: prompts, checkpoint, size and sampler."""

    prompt: Annotated[PromptText, RequestField(group="basic", form=FormField(), a1111="prompt")] = Field(
        description="What to generate; docs/prompts.md has the syntax."
    )
    negative_prompt: Annotated[
        PromptText,
        RequestField(
            group="basic",
            form=FormField(),
            a1111="negative_prompt",
            cli=CliOption("--negative", "-n", "TEXT"),
        ),
    ] = Field("", description="What to avoid.")
    styles: Annotated[
        tuple[Name, ...], RequestField(group="basic", cli=CliOption("--style", metavar="NAME"))
    ] = Field((), max_length=MAX_STYLES, description="Prompt styles to apply, in order.")
    ignore_unsupported: Annotated[bool, RequestField(changes_pixels=False)] = Field(
        False,
        description="Leave <hypernet:…> and other unsupported parts out of the prompts and note it, instead of "
        "refusing them.",
    )
    adapters: Annotated[
        tuple[Adapter, ...],
        RequestField(
            group="basic",
            cli=CliOption("--lora", metavar="NAME[:STRENGTH]"),
        ),
    ] = Field(
        (),
        max_length=MAX_ADAPTERS,
        description="LoRAs and other adapters, beside those of <lora:name:0.8> in the prompt.",
    )
    checkpoint: Annotated[
        CheckpointName | None,
        RequestField(
            group="basic",
            form=FormField(control="choice", aliases=("model",)),
            cli=CliOption("--checkpoint", "-m", "NAME"),
        ),
    ] = Field(None, description="A checkpoint: a name, folder, file or hub id; the setting's when not given.")

    seed: Annotated[
        Seed | None,
        RequestField(
            group="basic",
            form=FormField(control="text"),
            infotext="Seed",
            cli=CliOption("--seed", "-s", "N"),
        ),
    ] = Field(None, description="Seed of the noise; random when not given.")
    variation: Variation | None = None
    count: Annotated[
        Count,
        RequestField(
            group="basic",
            form=FormField(step=1, maximum=16, aliases=("batch size", "batch count")),
            cli=CliOption("--count", "-c", "N"),
            changes_pixels=False,
        ),
    ] = Field(1, description="How many pictures; picture i has the seed + i.")
    width: Annotated[
        Side | None,
        RequestField(
            group="basic",
            form=FormField(
                step=8,
                minimum=64,
                maximum=2048,
                initial=DEFAULT_SIDE,
                by_checkpoint=True,
                aliases=("resolution", "aspect ratio"),
            ),
        ),
    ] = Field(None, description="Pixels; the family says what it must be a multiple of.")
    height: Annotated[
        Side | None,
        RequestField(
            group="basic",
            form=FormField(
                step=8,
                minimum=64,
                maximum=2048,
                initial=DEFAULT_SIDE,
                by_checkpoint=True,
                aliases=("resolution", "aspect ratio"),
            ),
        ),
    ] = Field(None, description="Pixels.")

    steps: Annotated[
        Steps | None,
        RequestField(
            group="basic",
            form=FormField(
                step=1,
                maximum=150,
                initial=DEFAULT_STEPS,
                by_checkpoint=True,
                aliases=("sampling steps",),
            ),
            infotext="Steps",
            a1111="steps",
            cli=CliOption("--steps", metavar="N"),
        ),
    ] = Field(None, description="Denoising steps, 1 to 1000; the family's default when not given.")
    sampler: Annotated[
        Name | None,
        RequestField(
            group="basic",
            form=FormField(control="choice", by_checkpoint=True, aliases=("sampling method",)),
            cli=CliOption("--sampler", metavar="NAME"),
        ),
    ] = Field(None, description="safelight samplers lists them.")
    schedule: Annotated[
        Name | None,
        RequestField(
            form=FormField(control="choice", by_checkpoint=True, aliases=("scheduler", "schedule type")),
            cli=CliOption("--schedule", metavar="NAME"),
        ),
    ] = Field(None, description="Sigma schedule: karras, exponential, beta …")
    eta: Annotated[Fraction | None, RequestField(form=FormField(control="text"), infotext="Eta")] = Field(
        None, description="How much fresh noise DDIM-like samplers add, 0 to 1."
    )

    guidance_scale: Annotated[
        Scale | None,
        RequestField(
            group="basic",
            form=FormField(step=0.5, minimum=1, maximum=30, initial=5, by_checkpoint=True, aliases=("CFG",)),
            infotext="CFG scale",
            cli=CliOption("--guidance", "-g", "X"),
        ),
    ] = Field(None, description="Classifier-free guidance; 1 is none.")


class SamplingOptions(RequestPart):
    """Options of sampling that a request and the record of an image share, with the same meaning and default.

    A new option belongs here, and is then in both.
    """

    guidance_rescale: Annotated[
        Fraction,
        RequestField(form=FormField(step=0.05), infotext="CFG rescale", a1111="diffusers_guidance_rescale"),
    ] = Field(0.0, description="Pulls overexposed guidance back (Lin et al., 2023), 0 to 1.")
    guidance_start: Annotated[Fraction, RequestField(form=FormField(step=0.05), infotext="CFG start")] = (
        Field(0.0, description="Fraction of the steps after which guidance begins.")
    )
    guidance_end: Annotated[
        Fraction, RequestField(form=FormField(step=0.05), infotext="CFG end", a1111="cfg_end")
    ] = Field(1.0, description="Fraction of the steps after which guidance ends.")
    guidance_method: Annotated[
        Literal["cfg", "cfg-zero"], RequestField(form=FormField(), infotext="CFG method")
    ] = Field("cfg", description="cfg-zero: CFG-Zero* (Fan et al., 2025).")
    pag_scale: Annotated[
        Scale,
        RequestField(
            form=FormField(step=0.5, maximum=10, aliases=("PAG",)),
            infotext="PAG scale",
            a1111="pag_scale",
        ),
    ] = Field(0.0, description="Perturbed-attention guidance (Ahn et al., 2024); 0 is none.")
    pag_adaptive: Annotated[Fraction, RequestField(infotext="PAG adaptive", omitted_at_default=True)] = Field(
        0.0,
        description="How much less pag_scale is with each of the 1000 timesteps from the noisiest on, down to 0.",
    )
    image_guidance_scale: Annotated[
        float, RequestField(infotext="Image CFG scale", omitted_at_default=True)
    ] = Field(
        1.5,
        ge=1,
        le=100,
        allow_inf_nan=False,
        description="InstructPix2Pix's guidance by the reference: how much of it is kept; 1 is none.",
    )
    true_cfg_scale: Annotated[
        Scale,
        RequestField(
            form=FormField(step=0.5, minimum=1, maximum=10, aliases=("true CFG",)),
            infotext="True CFG scale",
            cli=CliOption("--true-cfg", metavar="X"),
            omitted_at_default=True,
        ),
    ] = Field(
        1.0,
        description="Classifier-free guidance beside the embedded guidance of Flux; above 1 the negative prompt "
        "counts, and each step takes twice as long.",
    )
    clip_skip: Annotated[
        int,
        RequestField(
            form=FormField(step=1),
            infotext="Clip skip",
            infotext_aliases=("CLiP-skip",),
            cli=CliOption("--clip-skip", metavar="N"),
        ),
    ] = Field(1, ge=1, le=12, description="1: the text encoder's last layer; 2: the one before …")
    vae: Annotated[
        CheckpointName | None,
        RequestField(
            infotext="VAE",
            cli=CliOption("--vae", metavar="NAME"),
            omitted_at_default=True,
        ),
    ] = Field(
        None,
        description="Another autoencoder: a file with one that fits, TAESD's too; the checkpoint's when not given.",
    )
    text_encoders: Annotated[
        tuple[CheckpointName, ...],
        RequestField(cli=CliOption("--text-encoder", metavar="NAME"), omitted_at_default=True),
    ] = Field(
        (),
        max_length=MAX_TEXT_ENCODERS,
        description="Files with other text encoders; each takes the place that its content fits.",
    )
    quality: Annotated[
        Quality | None,
        RequestField(
            form=FormField(aliases=("speed", "precision")),
            infotext="Quality",
            cli=CliOption("--quality", metavar="LEVEL"),
            omitted_at_default=True,
        ),
    ] = Field(
        None,
        description="What may be given up for speed: nothing (exact), digits of the arithmetic (balanced), also "
        "details, by a step cache (fast); the setting generation_quality when not given.",
    )
    seamless: Annotated[
        Seamless,
        RequestField(
            form=FormField(aliases=("tiling", "texture")),
            cli=CliOption("--seamless", metavar="EDGES"),
            omitted_at_default=True,
        ),
    ] = Field(
        "none",
        description="Edges that meet without a seam where copies of the picture lie side by side: horizontal (left and "
        "right), vertical (top and bottom), both or none; for U-Nets.",
    )
    noise_source: Annotated[
        NoiseSource | None,
        RequestField(
            form=FormField(aliases=("RNG", "random number generator")),
            cli=CliOption("--noise-source", metavar="NAME"),
            omitted_at_default=True,
        ),
    ] = Field(
        None,
        description="cpu: the numbers that a seed gives on a processor; gpu: those that it gives on a CUDA device, as "
        "A1111 and SD.Next draw them, computed on any device; the setting noise_source when not given.",
    )
    step_cache: Annotated[
        StepCacheKind | None,
        RequestField(
            form=FormField(aliases=("DeepCache", "TeaCache", "first block cache", "TaylorSeer")),
            infotext="Step cache",
            omitted_at_default=True,
        ),
    ] = Field(
        None,
        description="What steps take over from earlier ones instead of computing it; by quality when not given.",
    )
    step_cache_interval: Annotated[
        int | None, RequestField(infotext="Step cache interval", omitted_at_default=True)
    ] = Field(
        None,
        ge=2,
        le=20,
        description="Steps from one whole computation to the next, for deep, extrapolate and taylorseer.",
    )
    step_cache_threshold: Annotated[
        Fraction | None, RequestField(infotext="Step cache threshold", omitted_at_default=True)
    ] = Field(
        None,
        description="Relative change up to which blocks are left out, for first-block and magcache, 0 to 1.",
    )
    token_merging: Annotated[
        float,
        RequestField(
            form=FormField(step=0.05, aliases=("ToMe",)),
            infotext="Token merging ratio",
            omitted_at_default=True,
        ),
    ] = Field(
        0.0,
        ge=0,
        le=0.75,
        allow_inf_nan=False,
        description="Fraction of a U-Net's tokens that are merged for its largest self-attention, at most 0.75; for "
        "large pictures.",
    )
    region_method: Annotated[
        Literal["prediction", "attention"],
        RequestField(
            group="regions",
            form=FormField(aliases=("attention couple", "regional prompter")),
            infotext="Region method",
            omitted_at_default=True,
        ),
    ] = Field(
        "prediction",
        description="How regions are joined: by the denoiser's predictions, with a call for each; or, in U-Nets, by "
        "what their attention to the words returns, in one call (attention couple).",
    )


class GenerationRequest(SamplingOptions, PromptAndSampler):
    """What to generate. Fields that are None take the default of the checkpoint's family."""

    init_image: Annotated[InputImage, RequestField(group="edit")] = Field(
        None, description="The picture to start from."
    )
    mask: Annotated[InputMask, RequestField(group="edit", cli=CliOption("--mask", metavar="FILE"))] = Field(
        None, description="White where the picture is to be changed."
    )
    strength: Annotated[
        Fraction | None,
        RequestField(
            group="edit",
            form=FormField(
                step=0.05,
                initial=DEFAULT_STRENGTH[Mode.IMAGE],
                aliases=("img2img", "denoise"),
            ),
            infotext="Denoising strength",
            cli=CliOption("--strength", metavar="X"),
        ),
    ] = Field(None, description="Denoising strength: how much of the initial picture is changed, 0 to 1.")
    inpaint: Inpaint = Inpaint()
    outpaint: Outpaint | None = None
    hires: Hires | None = None
    refiner: Refiner | None = None
    control: Annotated[
        tuple[Control, ...],
        RequestField(cli=CliOption("--control", metavar="KIND[@PREPROCESSOR][:WEIGHT]=IMAGE")),
    ] = Field(
        (),
        max_length=MAX_CONTROLS,
        description="Pictures that steer it, by ControlNets and what is like them.",
    )
    references: Annotated[
        tuple[Reference, ...], RequestField(cli=CliOption("--reference", metavar="IMAGE"))
    ] = Field(
        (),
        max_length=MAX_REFERENCES,
        description="Pictures that the model looks at: what it is to edit, or what the result is to show too.",
    )
    regions: Annotated[
        tuple[Region, ...], RequestField(cli=CliOption("--region", metavar="MASK[:WEIGHT]=PROMPT"))
    ] = Field(
        (),
        max_length=MAX_REGIONS,
        description="Parts of the picture with prompts of their own; the prompt itself counts everywhere else.",
    )

    @classmethod
    def parse(cls, **fields: Any) -> Self:
        """Make a request from untyped values.

        Raises:
            RequestError: A field is unknown, of the wrong type, not finite or out of range.
            PromptUnsupportedError: A prompt has unsupported syntax, which is not to be ignored.
        """
        try:
            return cls(**fields)
        except ValidationError as error:
            problem = first_problem(error)
            raise field_error(problem, _error_message(problem)) from error

    @model_validator(mode="after")
    def _check_supported(self) -> Self:
        """Check the prompts' syntax; ``make_plan`` checks the text that styles and wildcards add."""
        prompt_parts(self.prompt)
        if not self.ignore_unsupported:
            check_supported(self.prompt, "prompt", "prompt")
            check_supported(self.negative_prompt, "negative prompt", "negative_prompt", negative=True)
            for number, region in enumerate(self.regions):
                name = f"prompt of region {number + 1}"
                check_supported(region.prompt, name, f"regions.{number}.prompt", negative=True)
            if self.hires is not None:
                second = self.hires
                check_supported(second.prompt or "", "second pass's prompt", "hires.prompt")
                named = "second pass's negative prompt", "hires.negative_prompt"
                check_supported(second.negative_prompt or "", *named, negative=True)
        return self

    @model_validator(mode="after")
    def _check_consistent(self) -> Self:
        if self.init_image is None:
            for name in ("mask", "outpaint", "strength"):
                if getattr(self, name) is not None:
                    raise _problem(PictureNeededError, f"{name} needs an initial picture", name)
            for number, control in enumerate(self.control):
                if control.image is None:
                    text = "a control without a picture of its own needs an initial picture"
                    raise _problem(PictureNeededError, text, f"control.{number}.image")
        if self.mask is not None and self.outpaint is not None:
            text = "outpainting makes its own mask: leave out the mask or the outpainting"
            raise _problem(FieldConflictError, text, "outpaint", other="mask")
        if self.guidance_start > self.guidance_end:
            text = "guidance_start lies after guidance_end"
            raise _problem(FieldConflictError, text, "guidance_start", other="guidance_end")
        last_index = self.count - 1
        seeds = (
            (self.seed or 0) + self.seed_offset(last_index),
            self.variation.seed + last_index if self.variation else 0,
        )
        if max(seeds) > MAX_SEED:
            text = f"the last picture's seed would be larger than {MAX_SEED}"
            raise _problem(AboveMaximumError, text, "seed", maximum=MAX_SEED - last_index)
        return self

    def seed_offset(self, index: int) -> int:
        """The difference between the seeds of picture `index` and of the first picture."""
        return 0 if self.variation is not None and self.variation.same_seed else index

    def canvas_size(self, init_image: tuple[int, int] | None) -> tuple[int, int] | None:
        """Width and height of the picture to be changed, in pixels; None for text-to-image.

        Args:
            init_image: Width and height of the initial picture; None without one.
        """
        if init_image is None or self.outpaint is None:
            return init_image
        return self.outpaint.enlarged_size(*init_image)

    @property
    def mode(self) -> Mode:
        """The kind of this run."""
        if self.init_image is None:
            return Mode.TEXT
        return Mode.IMAGE if self.mask is None and self.outpaint is None else Mode.INPAINT


def _problem(kind: type[FieldError], text: str, field: str, **context: Any) -> PydanticCustomError:
    """A problem of several fields, which is shown at one of them."""
    return PydanticCustomError(kind.code, text, {"field": field, **context})


def _error_message(problem: Problem) -> str:
    if problem.type == "extra_forbidden":
        return f"There is no field {problem.field!r}."
    given = repr(problem.given)
    return f"{problem}{f' (given: {given})' if problem.field and len(given) < 80 else ''}."
