"""``/v1/moderate/heat``: a heat map of the pixels that contributed to an image's score."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query, Response

from safelight.errors import (
    BodyTooLargeError,
    ClassifierUnknownError,
    ExplanationUnsupportedError,
    ImageFormatError,
    UnsupportedMediaTypeError,
)
from safelight.server.api.charging import charge_images
from safelight.server.api.native.moderation import RAW_IMAGE_BODY
from safelight.server.api.native.openapi_responses import BINARY, error_responses, multipart_body
from safelight.server.api.native.schemas.moderation import HeatmapRequest
from safelight.server.api.openapi_examples import MODERATION
from safelight.server.core.app_state import CurrentAppState
from safelight.server.core.content_negotiation import media_type
from safelight.server.core.events.previews import CurrentModerationService
from safelight.server.core.request_bodies.multipart import ImageRoute
from safelight.server.core.request_bodies.payload_decoding import decode_image
from safelight.server.middleware.disconnects import CANCEL_ON_DISCONNECT
from safelight.server.security.dependencies import CurrentPrincipal

router = APIRouter(tags=["moderation"], route_class=ImageRoute)
WEBP = media_type("webp")


@router.post(
    "/v1/moderate/heat",
    operation_id="explain_picture",
    dependencies=CANCEL_ON_DISCONNECT,
    summary="Explain a score",
    response_class=Response,
    responses=error_responses(
        BodyTooLargeError,
        ClassifierUnknownError,
        ExplanationUnsupportedError,
        ImageFormatError,
        UnsupportedMediaTypeError,
    )
    | {200: {"description": "The heat map.", "content": {WEBP: {"schema": BINARY}}}},
    openapi_extra={"requestBody": {"content": multipart_body("image", other_fields=False) | RAW_IMAGE_BODY}},
)
async def explain_picture(
    body: Annotated[HeatmapRequest, Body(openapi_examples={"one": MODERATION["one"]})],
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    moderation_service: CurrentModerationService,
    classifier: Annotated[
        str | None,
        Query(max_length=300, description="An installed classifier; the server's default when not given."),
    ] = None,
    frame: Annotated[
        int, Query(ge=0, le=10**6, description="Index of an animation's frame, as in a verdict.")
    ] = 0,
) -> Response:
    """The picture in grey, red where it raises the unsafe score and blue where it lowers it, as WebP.

    Exact, and so for open-nsfw only. The body is a picture's bytes, or JSON or multipart/form-data with one picture.
    It counts as one judged picture; nothing is stored.
    """
    explainer = await moderation_service.explainer(classifier)
    async with charge_images(app_state, principal, 1):
        heat = await moderation_service.heatmap(explainer, await decode_image(body.image, app_state), frame)
    return Response(heat, media_type=WEBP, headers={"Cache-Control": "no-store"})
