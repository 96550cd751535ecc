"""Decode a request's body into fields, with images as bytes."""

from __future__ import annotations

from typing import Any

from safelight.server.pictures_in import Intake
from safelight.server.schemas.jobs import Submitted
from safelight.server.state import Backstage

PICTURES = ("init_image", "mask", "image", "images")


async def fields_of(body: Submitted, behind: Backstage) -> dict[str, Any]:
    """The fields that were given, as ``submitting.submit`` takes them.

    Args:
        body: As it came over the wire.
        behind: The server's open things, for its limits.

    Raises:
        ImageError, RequestError: A picture is not what it claims to be, or too large.
    """
    fields = body.model_dump(exclude_unset=True, exclude={"kind", "priority", "timeout", *PICTURES})
    intake = intake_of(behind)
    for name in body.model_fields_set.intersection(PICTURES):
        fields[name] = await _value(getattr(body, name), intake)
    return fields


def intake_of(behind: Backstage) -> Intake:
    """The decoder of one request's images."""
    return Intake(behind.service.settings, behind.threads, behind.fetches)


async def taken_in(picture: str | bytes, behind: Backstage) -> bytes:
    """A picture file's bytes, from text or as they are.

    Raises:
        ImageError, RequestError: It is not what it claims to be, or too large.
    """
    return await intake_of(behind).picture(picture)


async def _value(value: Any, intake: Intake) -> object:
    if isinstance(value, tuple | list):
        return tuple([await intake.picture(part) for part in value])
    return None if value is None else await intake.picture(value)
