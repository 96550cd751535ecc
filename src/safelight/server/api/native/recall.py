"""``/v1/recall``: request fields from the metadata of an image, or from a text about one."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Body

from safelight.errors import (
    BodyInvalidError,
    BodyTooLargeError,
    ImageFormatError,
    SafelightError,
    UnsupportedMediaTypeError,
)
from safelight.generation.prompts import load_styles
from safelight.generation.recall import (
    AvailableModels,
    KnownCheckpoint,
    RecallResult,
    recall_image,
    recall_text,
)
from safelight.generation.solvers.samplers import PredictionProcess
from safelight.generation.upscaling.registry import find_upscalers
from safelight.images import DecodeLimits
from safelight.models.checkpoints.discovery import parts_index
from safelight.models.checkpoints.parts import has_part
from safelight.models.controls.discovery import has_control
from safelight.models.controls.packaged import control_folders
from safelight.server.api.adapter_lists import recalled_adapter
from safelight.server.api.checkpoint_names import list_checkpoints
from safelight.server.api.native.moderation import RAW_IMAGE_BODY
from safelight.server.api.native.openapi_responses import error_responses, example_response, multipart_body
from safelight.server.api.native.schemas.recall import RecalledRequest, RecallRequest
from safelight.server.api.openapi_examples import RECALLED, RECALLS
from safelight.server.api.upscaler_names import hires_upscaler
from safelight.server.core.app_state import CurrentAppState
from safelight.server.core.request_bodies.multipart import ImageRoute
from safelight.server.core.request_bodies.payload_decoding import decode_image
from safelight.server.middleware.disconnects import CANCEL_ON_DISCONNECT
from safelight.settings import Settings

router = APIRouter(tags=["pictures"], route_class=ImageRoute)


@router.post(
    "/v1/recall",
    operation_id="recall",
    dependencies=CANCEL_ON_DISCONNECT,
    summary="Read how a picture was made",
    responses=error_responses(BodyTooLargeError, ImageFormatError, UnsupportedMediaTypeError)
    | example_response(RECALLED),
    openapi_extra={"requestBody": {"content": multipart_body("image", other_fields=False) | RAW_IMAGE_BODY}},
)
async def recall(
    body: Annotated[RecallRequest, Body(openapi_examples=dict(RECALLS))], app_state: CurrentAppState
) -> RecalledRequest:
    """Fill in a request from a picture's metadata, or from a text: Safelight's, A1111's, SD.Next's or ComfyUI's.

    The body is a picture's bytes, JSON, or multipart/form-data. Nothing is stored, and the pixels are not decoded.
    Where the metadata does not say how the picture was made, the source is none.
    """
    if (body.image is None) == (body.text is None):
        raise BodyInvalidError("Give either image or text.")
    data = None if body.image is None else await decode_image(body.image, app_state)
    found = await app_state.threads.run_inspect(_recall, data or body.text or "", app_state.service.settings)
    return RecalledRequest.model_validate(found)


def _recall(source: str | bytes, settings: Settings) -> RecallResult:
    here = _server_names(settings)
    if isinstance(source, bytes):
        return recall_image(source, here, DecodeLimits.of(settings))
    return recall_text(source, here)


def _server_names(settings: Settings) -> AvailableModels:
    """The names that exist on this server."""
    upscalers = find_upscalers(settings.home)
    checkpoints = [
        KnownCheckpoint(each.name, each.digest, PredictionProcess(each.checkpoint.family.prediction_process))
        for each in list_checkpoints(settings)
    ]
    parts = parts_index(settings.home, settings.current_model_folders)
    folders = control_folders(settings.home, settings.current_model_folders)
    return AvailableModels(
        checkpoints,
        lambda name: hires_upscaler(name, upscalers),
        _style_names(settings),
        lambda name: has_part(name, parts),
        lambda name: has_control(name, folders),
        partial(recalled_adapter, settings=settings),
        partial(recalled_adapter, settings=settings, kind="embedding"),
    )


def _style_names(settings: Settings) -> frozenset[str]:
    """The names of the styles; empty where their files cannot be read, which GET /v1/styles reports."""
    try:
        return frozenset(load_styles(settings.home / "styles"))
    except SafelightError:
        return frozenset()
