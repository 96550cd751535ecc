"""Schemas for reading a request's fields from a picture or a text."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from safelight.generation.recall import Source
from safelight.server.api.job_fields import EncodedImage
from safelight.server.api.native.schemas.base import ResponseModel

MAX_TEXT = 1_000_000


class RecallRequest(BaseModel):
    """A picture or a text: exactly one of the two fields."""

    model_config = ConfigDict(extra="forbid")

    image: EncodedImage | None = None
    text: str | None = Field(
        None,
        max_length=MAX_TEXT,
        description="An infotext; or as JSON a request, a record or ComfyUI's graph.",
    )


class UnfilledView(ResponseModel):
    """A value in the source that could not become a field."""

    name: str = Field(description="Its name in the source.")
    value: str = Field(description="Its value in the source; long ones are cut.")
    reason: str = Field(description="Why it could not become a field; long ones are cut.")


class RecalledRequest(ResponseModel):
    """The fields of a request that could be read from the source."""

    source: Source = Field(description="The kind of source.")
    fields: dict[str, JsonValue] = Field(
        description="Fields of a generation request, only those that the source names. Each can be used alone, "
        "but strength and outpaint need an init_image, control its own pictures or that one, and regions their masks, "
        "which are never among the fields: without them, leave them out."
    )
    infotext: str | None = Field(None, description="The text that was read, where there was one.")
    unfilled: list[UnfilledView] = Field([], description="Values that could not become fields, 100 at most.")
