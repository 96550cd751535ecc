"""From a body on the wire to a request's fields, with pictures as bytes."""

from __future__ import annotations

import asyncio
from typing import Any

from safelight.images.decode import inspect
from safelight.server.pictures_in import limits_of, picture_bytes
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
    for name in body.model_fields_set.intersection(PICTURES):
        fields[name] = await _value(getattr(body, name), behind)
    return fields


async def taken_in(picture: str | bytes, behind: Backstage) -> bytes:
    """A picture file's bytes, from text or as they are.

    Raises:
        ImageError, RequestError: It is not what it claims to be, or too large.
    """
    settings = behind.service.settings
    if isinstance(picture, str):
        return await picture_bytes(picture, settings)
    await asyncio.to_thread(inspect, picture, limits_of(settings))
    return picture


async def _value(value: Any, behind: Backstage) -> object:
    if isinstance(value, tuple | list):
        return tuple([await taken_in(part, behind) for part in value])
    return None if value is None else await taken_in(value, behind)
