"""Request bodies of OpenAI's image routes; any other field is refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from fastapi import UploadFile
from pydantic import BaseModel, ConfigDict, Field, model_validator

from safelight.generation.request import PromptText
from safelight.images.fields import models_in
from safelight.server.api.job_fields import GenerateFields

Quality = Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"]
Size = Annotated[
    str, Field(pattern="^(auto|[1-9][0-9]{1,4}x[1-9][0-9]{1,4})$", description="auto, or WIDTHxHEIGHT.")
]
Name = Annotated[str, Field(max_length=500)]
OWN_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "checkpoint": "model",
        "count": "n",
        "width": "size",
        "height": "size",
        "init_image": "image",
        "ignore_unsupported": "prompt",
    }
)
"""Fields of a generation that OpenAI's API has other words for."""


def _without_own_names(schema: dict[str, Any]) -> None:
    for name in OWN_NAMES:
        schema["properties"].pop(name, None)


EDIT_FILES = ("image", "image[]")
"""The fields of an edit's pictures."""


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
    def image_count(self) -> int:
        """How many images to generate."""
        return self.n or 1

    @property
    def sides(self) -> tuple[int, int] | None:
        """Width and height in pixels; None for auto."""
        if self.size in (None, "auto"):
            return None
        width, height = str(self.size).split("x")
        return int(width), int(height)


class GenerationFields(CommonFields, GenerateFields):
    """Fields of generations and edits: OpenAI's, and all of ours that it has no word for, by their own names."""

    model_config = ConfigDict(json_schema_extra=_without_own_names)

    prompt: PromptText = Field(min_length=1, description="What to generate.")
    quality: Quality | None = Field(  # type: ignore[assignment]  # OpenAI's word for the number of steps
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

    ignore_unsupported: bool = Field(True, description="Not a field here: parts of prompts are left out.")

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, given: Any) -> Any:
        """Refuse fields that have another name here."""
        for name, own in OWN_NAMES.items():
            if isinstance(given, Mapping) and given.get(name) not in (None, cls.model_fields[name].default):
                raise ValueError(f"there is no field {name}; it is {own} here")
        return given

    @model_validator(mode="after")
    def _check_consistent(self) -> Self:
        """Leave it to the request: pictures come in other fields here."""
        return self

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

    image: list[UploadFile] = Field(
        [],
        description="The picture; several for checkpoints that look at references, first the one to edit.",
    )
    images: list[UploadFile] = Field([], alias="image[]", description="The same.")
    mask: UploadFile | None = Field(  # type: ignore[assignment]  # a file here
        None, description="A picture of the same size, transparent where to repaint."
    )
    input_fidelity: Literal["low", "high"] | None = Field(
        None, description="Without a mask: a strength of 0.5 for high, 0.75 for low."
    )

    @model_validator(mode="before")
    @classmethod
    def _read_parts(cls, given: Any) -> Any:
        """Read lists and nested fields, as OpenAI's client writes them (``adapters[]``, ``hires[scale]``) or JSON."""
        if not isinstance(given, Mapping):
            return given
        nested = {name for name, info in cls.model_fields.items() if models_in(info.annotation)}
        fields: dict[str, Any] = {}
        for key, value in given.items():
            name, bracket, part = key.partition("[")
            if key in EDIT_FILES or not bracket or name not in cls.model_fields:
                fields[key] = _read_json(value) if key in nested else value
            elif part == "]":
                fields[name] = [_read_json(item) for item in (value if isinstance(value, list) else [value])]
            else:
                if fields.get(name) in (None, cls.model_fields[name].default):  # which forms fill in
                    fields[name] = {}
                if not isinstance(fields[name], dict):
                    raise ValueError(f"{name} is given both as a whole and in parts")
                fields[name][part.removesuffix("]")] = value
        return fields


class VariationForm(CommonFields):
    """The form of /v1/images/variations."""

    image: UploadFile = Field(description="The picture.")


def _read_json(value: Any) -> Any:
    """Text that is a JSON object or list as what it describes; a list's items likewise.

    Raises:
        ValueError: It begins like JSON and is none, or is nested too deeply.
    """
    if isinstance(value, list | tuple):
        return [_read_json(item) for item in value]
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
