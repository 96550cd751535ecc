"""``/v1/recall``: request fields from the metadata of an image, or from a text about one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body

from safelight.errors import (
    BodyInvalidError,
    BodyTooLargeError,
    ImageFormatError,
    MediaTypeError,
    SafelightError,
)
from safelight.generation.prompts import load_styles
from safelight.generation.recall import Here, Known, Recalled, recall_picture, recall_text
from safelight.generation.samplers import Kind
from safelight.generation.upscaling.finding import find_upscalers
from safelight.images import DecodeLimits
from safelight.server.bodies import PictureRoute
from safelight.server.compat.a1111_upscalers import for_hires
from safelight.server.compat.checkpoints import listed
from safelight.server.fields import taken_in
from safelight.server.middleware.disconnects import ENDS_WITH_CALLER
from safelight.server.routes.describing import errors, form, shown
from safelight.server.routes.examples import RECALLED, RECALLS
from safelight.server.routes.moderation import BARE
from safelight.server.schemas.recall import RecalledRequest, ToRecall
from safelight.server.state import Behind
from safelight.settings import Settings

router = APIRouter(tags=["pictures"], route_class=PictureRoute)


@router.post(
    "/v1/recall",
    operation_id="recall",
    dependencies=ENDS_WITH_CALLER,
    summary="Read how a picture was made",
    responses=errors(BodyTooLargeError, ImageFormatError, MediaTypeError) | shown(RECALLED),
    openapi_extra={"requestBody": {"content": form("image", others=False) | BARE}},
)
async def recall(
    body: Annotated[ToRecall, Body(openapi_examples=dict(RECALLS))], behind: Behind
) -> RecalledRequest:
    """Fill in a request from a picture's metadata, or from a text: Safelight's, A1111's, SD.Next's or ComfyUI's.

    The body is a picture's bytes, JSON, or multipart/form-data. Nothing is stored, and the pixels are not decoded.
    Where the metadata does not say how the picture was made, the source is none.
    """
    if (body.image is None) == (body.text is None):
        raise BodyInvalidError("Give either image or text.")
    data = None if body.image is None else await taken_in(body.image, behind)
    found = await behind.threads.picture(_recalled, data or body.text or "", behind.service.settings)
    return RecalledRequest.model_validate(found)


def _recalled(given: str | bytes, settings: Settings) -> Recalled:
    here = _here(settings)
    if isinstance(given, bytes):
        return recall_picture(given, here, DecodeLimits.of(settings))
    return recall_text(given, here)


def _here(settings: Settings) -> Here:
    """The names that exist on this server."""
    upscalers = find_upscalers(settings.home)
    checkpoints = [
        Known(each.name, each.digest, Kind(each.checkpoint.family.kind)) for each in listed(settings)
    ]
    return Here(checkpoints, lambda name: for_hires(name, upscalers), _styles(settings))


def _styles(settings: Settings) -> frozenset[str]:
    """The names of the styles; empty where their files cannot be read, which GET /v1/styles reports."""
    try:
        return frozenset(load_styles(settings.home / "styles"))
    except SafelightError:
        return frozenset()
