"""Base class and common types of the schemas."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema

from safelight.generation.request import Name
from safelight.images.fields import ImageField

EncodedImage = Annotated[
    str | bytes,
    ImageField(),
    WithJsonSchema({"type": "string", "minLength": 1}),
    Field(
        min_length=1,
        description="A picture in base64 or as a data URI; a part of its own in multipart/form-data.",
    ),
]

JobImage = Annotated[
    EncodedImage,
    Field(
        description="A picture in base64 or as a data URI, or gallery: and the id of a picture in the gallery; "
        "a part of its own in multipart/form-data.",
    ),
]

EntryIdText = Annotated[str, StringConstraints(pattern="^[0-9a-z]{22}$")]

ListedName = Annotated[Name, Field(description="A name that GET /v1/models lists; no path, no hub id.")]


class ResponseModel(BaseModel):
    """Base class of responses; an instance can be created from an object's attributes."""

    model_config = ConfigDict(frozen=True, from_attributes=True)
