"""``/v1/segment``: the mask of what lies at a point of a picture."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Response
from PIL import Image

from safelight.errors import (
    BlockedError,
    BodyTooLargeError,
    ControlModelMissingError,
    EntryFileMissingError,
    EntryMissingError,
    FieldError,
    ImageFormatError,
    MemoryBudgetError,
    UnsupportedMediaTypeError,
)
from safelight.generation.control.preprocessors.object_mask import OBJECT_MASK, place_parameters
from safelight.images import DecodeLimits, decode, read_header
from safelight.images.encoding import encode_image
from safelight.server.api.native.openapi_responses import BINARY, error_responses, multipart_body
from safelight.server.api.native.schemas.segmentation import SegmentBody
from safelight.server.api.openapi_examples import SEGMENTATION
from safelight.server.api.preprocessing import preprocess
from safelight.server.core.app_state import CurrentAppState
from safelight.server.core.content_negotiation import media_type
from safelight.server.core.events.previews import CurrentModerationService
from safelight.server.core.executors.image_cost import decode_cost, encode_cost
from safelight.server.core.request_bodies.multipart import FormRoute
from safelight.server.core.request_bodies.payload_decoding import image_inputs_of
from safelight.server.middleware.disconnects import CANCEL_ON_DISCONNECT
from safelight.server.security.dependencies import CurrentPrincipal

router = APIRouter(prefix="/v1", tags=["control"], route_class=FormRoute)
PNG = media_type("png")


@router.post(
    "/segment",
    operation_id="segment",
    dependencies=CANCEL_ON_DISCONNECT,
    summary="Make a mask from a click",
    response_class=Response,
    responses=error_responses(
        BlockedError,
        BodyTooLargeError,
        ControlModelMissingError,
        EntryFileMissingError,
        EntryMissingError,
        FieldError,
        ImageFormatError,
        MemoryBudgetError,
        UnsupportedMediaTypeError,
    )
    | {200: {"description": "The mask.", "content": {PNG: {"schema": BINARY}}}},
    openapi_extra={"requestBody": {"content": multipart_body("image")}},
)
async def segment(
    body: Annotated[SegmentBody, Body(openapi_examples=dict(SEGMENTATION))],
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    moderation_service: CurrentModerationService,
) -> Response:
    """The mask of the object that lies at some points of a picture, or in a box: a PNG of its size, white on black.

    A job of the kind preprocess makes it, by the preprocessor ``object_mask``, and the request waits for it. The model
    has to be in the folder ``preprocessors`` of the data directory, or in the cache of the hub's libraries.
    """
    image = await image_inputs_of(app_state, principal).read(body.image)
    threads, limits = app_state.threads, app_state.studio.limits
    header = await threads.run_inspect(read_header, image, limits=limits)
    size = header.width, header.height
    points = [(each.x, each.y, each.inside) for each in body.points]
    box = None if body.box is None else (body.box.left, body.box.top, body.box.right, body.box.bottom)
    parameters = place_parameters(points, box, size, body.model)
    mask = await preprocess(app_state, principal, moderation_service, image, OBJECT_MASK, parameters, None)
    cost = (await threads.run_inspect(decode_cost, mask, limits)) + encode_cost(size, "png")
    result = await threads.run_image(cost, _as_mask, mask, size, limits)
    return Response(result, media_type=PNG, headers={"Cache-Control": "no-store"})


def _as_mask(mask: bytes, size: tuple[int, int], limits: DecodeLimits) -> bytes:
    """A mask in the size of its picture, which may have been too large to work on."""
    return encode_image(decode(mask, limits=limits).image.resize(size, Image.Resampling.NEAREST), "png")
