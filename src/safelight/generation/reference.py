"""The field of a request for a picture that the model looks at."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, SkipValidation, model_validator
from pydantic_core import PydanticCustomError

from safelight.errors import FieldMissingError
from safelight.images import ImageSource
from safelight.images.fields import ImageField

MAX_REFERENCES = 16
"""Most references of a request; checkpoints may take fewer."""


class Reference(BaseModel):
    """A picture that the model looks at: what it is to edit, or what the result is to show too."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    image: Annotated[ImageSource | None, SkipValidation, ImageField()] = Field(
        None, description="The picture."
    )

    @model_validator(mode="after")
    def _check_image(self) -> Self:
        if self.image is None:
            text = "a reference needs its picture"
            raise PydanticCustomError(FieldMissingError.code, text, {"field": "image"})
        return self
