"""From a body on the wire to a request's fields, with images as bytes."""

from __future__ import annotations

from typing import Any

from safelight.images.fields import find_images, replace_images
from safelight.server.api.native.schemas.jobs import JobOptions
from safelight.server.core.app_state import AppState
from safelight.server.core.request_bodies.image_inputs import ImageInputs


async def decode_fields(body: JobOptions, app_state: AppState) -> dict[str, Any]:
    """The fields that were given, as ``submission.submit`` takes them.

    Args:
        body: The body, with images as text or bytes.
        app_state: The server's open things, for its limits.

    Raises:
        ImageError, RequestError: An image is not what it claims to be, or too large.
    """
    fields = body.model_dump(exclude_unset=True, exclude={"kind", "priority", "timeout"})
    intake, model = image_inputs(app_state), type(body)
    images = {found.path: await intake.read(found.value) for found in find_images(model, fields)}
    return replace_images(model, fields, lambda found: images[found.path])


def image_inputs(app_state: AppState) -> ImageInputs:
    """What decodes the images of one request."""
    return ImageInputs(app_state.service.settings, app_state.threads, app_state.fetch_slots)


async def decode_image(image: str | bytes, app_state: AppState) -> bytes:
    """An image file's bytes, from text or as they are.

    Raises:
        ImageError, RequestError: It is not what it claims to be, or too large.
    """
    return await image_inputs(app_state).read(image)
