"""Images in request bodies as bytes."""

from __future__ import annotations

from functools import partial

from safelight.server.core.app_state import AppState
from safelight.server.core.request_bodies.image_inputs import ImageInputs
from safelight.server.security.principal import Principal


def image_inputs(app_state: AppState) -> ImageInputs:
    """What decodes the images of one request."""
    return ImageInputs(app_state.service.settings, app_state.threads, app_state.fetch_slots)


def image_inputs_of(app_state: AppState, principal: Principal) -> ImageInputs:
    """What decodes the images of one request that may also name pictures of the principal's gallery."""
    read_entry = partial(app_state.service.gallery.read, owner=principal.scope)
    return ImageInputs(app_state.service.settings, app_state.threads, app_state.fetch_slots, read_entry)


async def decode_image(image: str | bytes, app_state: AppState) -> bytes:
    """An image file's bytes, from text or as they are.

    Raises:
        ImageError, RequestError: It is not what it claims to be, or too large.
    """
    return await image_inputs(app_state).read(image)
