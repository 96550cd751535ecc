"""Requests for pictures: one class for every kind of generation.

Text-to-image, image-to-image, inpainting and outpainting are the same request with more fields. Every value is
checked here, before any work; what depends on the checkpoint (samplers, sizes) is checked when the checkpoint is
known.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SkipValidation, ValidationError, model_validator

from safelight.errors import RequestError
from safelight.generation.prompts.unsupported import check_supported
from safelight.images import ImageSource
from safelight.images.fields import ImageField
from safelight.validation import first_problem

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Scale = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Steps = Annotated[int, Field(ge=1, le=1000)]
Side = Annotated[int, Field(ge=16, le=16384)]
MAX_PROMPT_LENGTH = 10_000
"""Maximum length of a prompt in characters, as written and as expanded."""
PromptText = Annotated[str, Field(max_length=MAX_PROMPT_LENGTH, pattern="^[^\\x00]*$")]
Name = Annotated[str, Field(max_length=300, pattern="^[^\\x00]*$")]
"""A name for a lookup. The pattern also excludes lone surrogates, which cannot be encoded."""
CheckpointName = Annotated[str, Field(max_length=4096, pattern="^[^\\x00]*$")]
MAX_STYLES = 100
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

    seed: Seed = Field(description="The other seed; picture i of a batch takes seed + i.")
    strength: Fraction = Field(
        description="Fraction of the other seed's noise, 0 to 1; spherically interpolated."
    )
    same_seed: bool = Field(
        False, description="Keep the request's own seed for all pictures, so that only this one counts up."
    )

    def for_picture(self, index: int) -> Variation:
        """The variation of picture `index` of a batch, for a request of its own."""
        return self.model_copy(update={"seed": self.seed + index, "same_seed": False})


class Inpaint(RequestPart):
    """How a masked part is generated."""

    blur: int = Field(
        4, ge=0, le=256, description="Gaussian blur of the mask's edge, in pixels of the picture."
    )
    padding: int = Field(
        32, ge=0, le=4096, description="Pixels around the mask that are generated with it (only_masked)."
    )
    only_masked: bool = Field(False, description="Generate only the masked part, at the request's full size.")
    fill: Literal["original", "blur", "noise"] = Field(
        "original", description="What the masked part contains before it is generated."
    )
    invert: bool = Field(False, description="Change what the mask leaves black instead.")


class Outpaint(RequestPart):
    """How far a picture is extended beyond its edges, in pixels."""

    left: int = Field(0, ge=0, le=8192)
    right: int = Field(0, ge=0, le=8192)
    top: int = Field(0, ge=0, le=8192)
    bottom: int = Field(0, ge=0, le=8192)

    def enlarged_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of a picture of this size after outpainting, in pixels."""
        return width + self.left + self.right, height + self.top + self.bottom


class Hires(RequestPart):
    """A second pass at a larger size."""

    scale: float = Field(2.0, gt=1, le=8, allow_inf_nan=False, description="Factor on width and height.")
    upscaler: Name = Field("latent", description="latent, lanczos, or an upscaler's name.")
    strength: Fraction = Field(0.6, description="Denoising strength of the second pass, 0 to 1.")
    steps: Steps | None = Field(
        None, description="Steps of the second pass; as many as the first's when not given."
    )
    all_steps: bool = Field(
        False,
        description="Run all of these steps, as A1111 counts them; otherwise a fraction of them, the strength.",
    )
    sampler: Name | None = Field(
        None,
        description="Sampler of the second pass, with its schedule in its name if it is to have one (DDIM Karras); "
        "sampler and schedule of the first when not given.",
    )


class GenerationRequest(RequestPart):
    """What to generate. Fields that are None take the default of the checkpoint's family."""

    prompt: PromptText = Field(description="What to generate; docs/prompts.md has the syntax.")
    negative_prompt: PromptText = Field("", description="What to avoid.")
    styles: tuple[Name, ...] = Field(
        (), max_length=MAX_STYLES, description="Prompt styles to apply, in order."
    )
    ignore_unsupported: bool = Field(
        False,
        description="Leave <lora:…>, embedding:… and AND out of the prompts and note it, instead of refusing them.",
    )
    checkpoint: CheckpointName | None = Field(
        None, description="A checkpoint's name, a folder, a file or a hub id; the setting's when not given."
    )

    seed: Seed | None = Field(None, description="Seed of the noise; random when not given.")
    variation: Variation | None = None
    count: int = Field(1, ge=1, le=1000, description="How many pictures; picture i has the seed + i.")
    width: Side | None = Field(None, description="Pixels; the family says what it must be a multiple of.")
    height: Side | None = Field(None, description="Pixels.")

    steps: Steps | None = None
    sampler: Name | None = Field(None, description="safelight samplers lists them.")
    schedule: Name | None = Field(
        None, description="Sigma schedule: karras, exponential, beta, sgm-uniform …"
    )
    eta: Fraction | None = Field(None, description="How much fresh noise DDIM-like samplers add, 0 to 1.")

    guidance_scale: Scale | None = Field(None, description="Classifier-free guidance; 1 is none.")
    guidance_rescale: Fraction = Field(
        0.0, description="Pulls overexposed guidance back (Lin et al., 2023), 0 to 1."
    )
    guidance_start: Fraction = Field(0.0, description="Fraction of the steps after which guidance begins.")
    guidance_end: Fraction = Field(1.0, description="Fraction of the steps after which guidance ends.")
    guidance_method: Literal["cfg", "cfg-zero"] = Field(
        "cfg", description="cfg-zero: CFG-Zero* (Fan et al., 2025)."
    )
    pag_scale: Scale = Field(0.0, description="Perturbed-attention guidance (Ahn et al., 2024); 0 is none.")
    pag_adaptive: Fraction = Field(
        0.0,
        description="How much less pag_scale is with each of the 1000 timesteps from the noisiest on, down to 0.",
    )
    clip_skip: int = Field(
        1, ge=1, le=12, description="1: the text encoder's last layer; 2: the one before …"
    )

    init_image: InputImage = Field(None, description="The picture to start from.")
    mask: InputMask = Field(None, description="White where the picture is to be changed.")
    strength: Fraction | None = Field(
        None, description="Denoising strength: how much of the initial picture is changed, 0 to 1."
    )
    inpaint: Inpaint = Inpaint()
    outpaint: Outpaint | None = None
    hires: Hires | None = None

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
            raise RequestError(_error_message(error)) from error

    @model_validator(mode="after")
    def _check_supported(self) -> Self:
        """Check the prompts' syntax; ``make_plan`` checks the text that styles and wildcards add."""
        if not self.ignore_unsupported:
            check_supported(self.prompt, "prompt")
            check_supported(self.negative_prompt, "negative prompt")
        return self

    @model_validator(mode="after")
    def _check_consistent(self) -> Self:
        if self.init_image is None and (self.mask is not None or self.outpaint is not None):
            raise ValueError("a mask or an outpainting needs an initial picture")
        if self.init_image is None and self.strength is not None:
            raise ValueError("strength needs an initial picture")
        if self.mask is not None and self.outpaint is not None:
            raise ValueError("outpainting makes its own mask: leave out the mask or the outpainting")
        if self.guidance_start > self.guidance_end:
            raise ValueError("guidance_start lies after guidance_end")
        last_index = self.count - 1
        seeds = (
            (self.seed or 0) + self.seed_offset(last_index),
            self.variation.seed + last_index if self.variation else 0,
        )
        if max(seeds) > MAX_SEED:
            raise ValueError(f"the last picture's seed would be larger than {MAX_SEED}")
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


def _error_message(error: ValidationError) -> str:
    problem = first_problem(error)
    if problem.type == "extra_forbidden":
        return f"There is no field {problem.field!r}."
    given = repr(problem.given)
    return f"{problem}{f' (given: {given})' if problem.field and len(given) < 80 else ''}."
