"""Schemas of masks from a click."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from safelight.generation.control.preprocessors.object_mask import MAX_POINTS
from safelight.generation.control.preprocessors.pulled_model import NAME_PATTERN
from safelight.generation.request import RequestPart
from safelight.server.api.job_fields import JobImage

Pixel = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]


class SegmentPoint(RequestPart):
    """A point of a picture."""

    x: Pixel = Field(description="Pixels from the left.")
    y: Pixel = Field(description="Pixels from the top.")
    inside: bool = Field(True, description="Whether the object is there; false: it is beside it.")


class SegmentBox(RequestPart):
    """A box of a picture."""

    left: Pixel = Field(description="Pixels from the left.")
    top: Pixel = Field(description="Pixels from the top.")
    right: Pixel = Field(description="Pixels from the left.")
    bottom: Pixel = Field(description="Pixels from the top.")


class SegmentBody(RequestPart):
    """A picture, and where the object lies of which the mask is wanted: at least one point, or a box."""

    image: JobImage
    points: tuple[SegmentPoint, ...] = Field(
        (), max_length=MAX_POINTS, description="Points on and beside it."
    )
    box: SegmentBox | None = Field(None, description="A box around it.")
    model: str | None = Field(
        None,
        pattern=NAME_PATTERN,
        max_length=200,
        description="A model of transformers for masks, by its name on the hub or its folder's; the usual one when not "
        "given.",
    )
