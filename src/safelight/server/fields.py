"""From a body on the wire to a request's fields, with images as bytes."""

from __future__ import annotations

from typing import Any

from safelight.images.fields import find_images, replace_images
from safelight.server.pictures_in import Intake
from safelight.server.schemas.jobs import Submitted
from safelight.server.state import Backstage


async def fields_of(body: Submitted, behind: Backstage) -> dict[str, Any]:
    """The fields that were given, as ``submitting.submit`` takes them.

    Args:
        body: The body, with images as text or bytes.
        behind: The server's open things, for its limits.

    Raises:
        ImageError, RequestError: An image is not what it claims to be, or too large.
    """
    fields = body.model_dump(exclude_unset=True, exclude={"kind", "priority", "timeout"})
    intake, model = intake_of(behind), type(body)
    images = {found.path: await intake.picture(found.value) for found in find_images(model, fields)}
    return replace_images(model, fields, lambda found: images[found.path])


def intake_of(behind: Backstage) -> Intake:
    """What decodes the images of one request."""
    return Intake(behind.service.settings, behind.threads, behind.fetches)


async def taken_in(picture: str | bytes, behind: Backstage) -> bytes:
    """An image file's bytes, from text or as they are.

    Raises:
        ImageError, RequestError: It is not what it claims to be, or too large.
    """
    return await intake_of(behind).picture(picture)
