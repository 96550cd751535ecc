"""Schemas for reading a request's fields from a picture or a text."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from safelight.generation.recall import Source
from safelight.server.schemas.wire import EncodedPicture, Wire

LONGEST = 1_000_000


class ToRecall(BaseModel):
    """A picture or a text: exactly one of the two fields."""

    model_config = ConfigDict(extra="forbid")

    image: EncodedPicture | None = None
    text: str | None = Field(
        None,
        max_length=LONGEST,
        description="An infotext; or as JSON a request, a record or ComfyUI's graph.",
    )


class UnfilledView(Wire):
    """A value in the source that could not become a field."""

    name: str = Field(description="What it is called where it was said.")
    value: str = Field(description="What was said; long ones are cut.")
    reason: str = Field(description="Why it could not be filled in; long ones are cut.")


class RecalledRequest(Wire):
    """The fields of a request that could be read from the source."""

    source: Source = Field(description="Whose words they are.")
    fields: dict[str, JsonValue] = Field(
        description="Fields of a request to draw, only those that were named. Each of them alone can be used; strength "
        "and outpaint need an init_image beside them, which is never among the fields: without one, leave them out."
    )
    infotext: str | None = Field(None, description="The text that was read, where there was one.")
    unfilled: list[UnfilledView] = Field([], description="What could not be filled in, 100 things at most.")
