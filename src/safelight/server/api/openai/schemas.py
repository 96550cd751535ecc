"""Request bodies of OpenAI's image routes; any other field is refused by name."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import UploadFile
from pydantic import BaseModel, ConfigDict, Field

from safelight.generation.request import Fraction, PromptText, Scale, Seed, Steps

Quality = Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"]
Size = Annotated[
    str, Field(pattern="^(auto|[1-9][0-9]{1,4}x[1-9][0-9]{1,4})$", description="auto, or WIDTHxHEIGHT.")
]
Name = Annotated[str, Field(max_length=500)]


class CommonFields(BaseModel):
    """Fields of all three routes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Name | None = Field(
        None,
        description="A checkpoint that /v1/models lists, or a name in the setting openai_models; the server's "
        "default when not given.",
    )
    n: Annotated[int, Field(ge=1, le=10)] | None = Field(None, description="How many pictures.")
    size: Size | None = Field(
        None, description="auto: the checkpoint's default, or the picture's size up to about a megapixel."
    )
    response_format: Literal["b64_json", "url"] | None = Field(None, description="b64_json when not given.")
    user: Name | None = Field(None, description="Without effect; see safety_identifier.")

    @property
    def count(self) -> int:
        """How many images to generate."""
        return self.n or 1

    @property
    def sides(self) -> tuple[int, int] | None:
        """Width and height in pixels; None for auto."""
        if self.size in (None, "auto"):
            return None
        width, height = str(self.size).split("x")
        return int(width), int(height)


class GenerationFields(CommonFields):
    """Fields of generations and edits; the fields from negative_prompt on are ours."""

    prompt: PromptText = Field(min_length=1, description="What to generate.")
    quality: Quality | None = Field(
        None, description="How many steps: low half as many, high and hd 1.5 times …"
    )
    output_format: Literal["png", "webp", "jpeg"] | None = Field(None, description="png when not given.")
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = Field(
        None, description="Quality of webp and jpeg, 100 when not given; png takes only 100."
    )
    background: Literal["transparent", "opaque", "auto"] | None = Field(
        None, description="transparent is refused."
    )
    moderation: Literal["low", "auto"] | None = Field(
        None, description="Without effect: the server's policy applies."
    )
    style: Literal["vivid", "natural"] | None = Field(None, description="Without effect, as with OpenAI.")
    safety_identifier: Name | None = Field(None, description="Returned unchanged.")
    stream: bool | None = Field(None, description="Answer with events.")
    partial_images: Annotated[int, Field(ge=0, le=3)] | None = Field(
        None, description="Previews, with stream."
    )

    negative_prompt: PromptText | None = Field(None, description="What to avoid.")
    seed: Seed | None = Field(None, description="The same seed gives the same pictures.")
    steps: Steps | None = Field(None, description="Instead of quality.")
    guidance_scale: Scale | None = None
    sampler: Name | None = None
    schedule: Name | None = None

    @property
    def file_format(self) -> Literal["png", "webp", "jpeg"]:
        """File format of the images."""
        return self.output_format or "png"

    @property
    def returned_identifier(self) -> str | None:
        """The identifier to return."""
        return self.safety_identifier or self.user


class GenerationBody(GenerationFields):
    """The body of /v1/images/generations."""


class EditForm(GenerationFields):
    """The form of /v1/images/edits."""

    image: list[UploadFile] = Field([], description="The picture.")
    images: list[UploadFile] = Field([], alias="image[]", description="The same; one picture at a time.")
    mask: UploadFile | None = Field(
        None, description="A picture of the same size, transparent where to repaint."
    )
    input_fidelity: Literal["low", "high"] | None = Field(
        None, description="Without a mask: a strength of 0.5 for high, 0.75 for low."
    )
    strength: Fraction | None = Field(None, description="Ours: denoising strength, 0 to 1.")


class VariationForm(CommonFields):
    """The form of /v1/images/variations."""

    image: UploadFile = Field(description="The picture.")
