"""``/v1/preprocess``: the pictures that steer a generation, at once and without a job."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Body, Response

from safelight.errors import (
    BlockedError,
    BodyTooLargeError,
    ControlModelMissingError,
    EntryFileMissingError,
    EntryMissingError,
    ExtraMissingError,
    FieldError,
    ImageFormatError,
    MemoryBudgetError,
    PersonMissingError,
    PreprocessorUnknownError,
    UnsupportedMediaTypeError,
)
from safelight.generation.control.preprocessors import PREPROCESSORS
from safelight.server.api.native.openapi_responses import (
    BINARY,
    error_responses,
    example_response,
    multipart_body,
)
from safelight.server.api.native.schemas.preprocessing import (
    PreprocessBody,
    PreprocessorList,
    PreprocessorView,
)
from safelight.server.api.openapi_examples import PREPROCESSING, PREPROCESSOR_LIST
from safelight.server.api.preprocessing import preprocess
from safelight.server.core.app_state import AppState, CurrentAppState
from safelight.server.core.content_negotiation import media_type
from safelight.server.core.events.previews import CurrentModerationService
from safelight.server.core.request_bodies.multipart import FormRoute
from safelight.server.core.request_bodies.payload_decoding import image_inputs_of
from safelight.server.middleware.disconnects import CANCEL_ON_DISCONNECT
from safelight.server.security.dependencies import CurrentPrincipal

router = APIRouter(prefix="/v1", tags=["control"], route_class=FormRoute)
PNG = media_type("png")


@router.post(
    "/preprocess",
    operation_id="preprocess",
    dependencies=CANCEL_ON_DISCONNECT,
    summary="Preprocess a picture",
    response_class=Response,
    responses=error_responses(
        BlockedError,
        BodyTooLargeError,
        ControlModelMissingError,
        EntryFileMissingError,
        EntryMissingError,
        ExtraMissingError,
        FieldError,
        ImageFormatError,
        MemoryBudgetError,
        PersonMissingError,
        PreprocessorUnknownError,
        UnsupportedMediaTypeError,
    )
    | {200: {"description": "The result.", "content": {PNG: {"schema": BINARY}}}},
    openapi_extra={"requestBody": {"content": multipart_body("image")}},
)
async def preprocess_picture(
    body: Annotated[PreprocessBody, Body(openapi_examples=dict(PREPROCESSING))],
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    moderation_service: CurrentModerationService,
) -> Response:
    """The edges, lines, pose or colours of a picture as a PNG, with which control models steer a generation.

    The picture and the result are judged, and it counts as one picture. Nothing is stored, except where
    ``runs_in_worker`` says that a preprocessor runs as a job, for which the request then waits.
    """
    image = await image_inputs_of(app_state, principal).read(body.image)
    result = await preprocess(
        app_state,
        principal,
        moderation_service,
        image,
        body.preprocessor,
        body.parameters,
        body.resolution,
    )
    return Response(result, media_type=PNG, headers={"Cache-Control": "no-store"})


@router.get(
    "/preprocessors",
    operation_id="list_preprocessors",
    summary="List preprocessors",
    responses=error_responses() | example_response(PREPROCESSOR_LIST),
)
async def list_preprocessors(app_state: CurrentAppState) -> PreprocessorList:
    """The preprocessors with their parameters, and whether the weights that they need are there."""
    return await asyncio.to_thread(_list, app_state)


def _list(app_state: AppState) -> PreprocessorList:
    settings = app_state.service.settings
    rows = [each.to_dict(settings) for each in PREPROCESSORS.values()]
    return PreprocessorList(preprocessors=[PreprocessorView.model_validate(row) for row in rows])
