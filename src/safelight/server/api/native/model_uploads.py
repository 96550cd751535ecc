"""``/v1/models/uploads``: files of weights from an administrator's browser."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect

from safelight.errors import (
    BodyTooLargeError,
    CheckpointInvalidError,
    OutputError,
    OutputExistsError,
    PickleRefusedError,
    RoleRequiredError,
)
from safelight.models.checkpoints.parts import PartsIndex
from safelight.models.inventory.folders import describe_file
from safelight.models.inventory.kind_folders import weights_folders
from safelight.models.inventory.upload import check_upload, open_upload
from safelight.server.api.native.model_files import file_view
from safelight.server.api.native.openapi_responses import BINARY, error_responses, example_response
from safelight.server.api.native.schemas.models import WeightsFileView
from safelight.server.api.openapi_examples import MODEL_FILE
from safelight.server.core.app_state import CurrentAppState
from safelight.server.security.dependencies import CurrentAdmin
from safelight.settings import Settings

router = APIRouter(prefix="/v1/models/uploads", tags=["models"])
BLOCK = 4 * 1024 * 1024
"""Bytes that are written at once."""
UPLOAD_ERRORS = error_responses(
    RoleRequiredError,
    PickleRefusedError,
    CheckpointInvalidError,
    OutputError,
    OutputExistsError,
    BodyTooLargeError,
)
FileName = Annotated[
    str, Query(min_length=1, max_length=200, description="The file's name, as it will be called.")
]


@router.get(
    "/check",
    operation_id="check_upload",
    summary="See whether a file could be uploaded",
    status_code=204,
    responses=UPLOAD_ERRORS,
)
async def check_model_upload(
    app_state: CurrentAppState,
    _: CurrentAdmin,
    name: FileName,
    size: Annotated[int | None, Query(ge=0, le=2**60, description="Its bytes.")] = None,
) -> Response:
    """Refuse a file for its name or its size before its bytes are sent; for administrators."""
    await asyncio.to_thread(check_upload, name, size, app_state.service.settings)
    return Response(status_code=204)


@router.post(
    "",
    operation_id="upload_model",
    summary="Upload a file of weights",
    status_code=201,
    responses=UPLOAD_ERRORS | example_response(MODEL_FILE, 201),
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/octet-stream": {"schema": BINARY}}}
    },
)
async def upload_model(
    request: Request, app_state: CurrentAppState, _: CurrentAdmin, name: FileName
) -> WeightsFileView:
    """Upload a .safetensors or .gguf file of any kind, as the body; for administrators.

    It is written to the disk as it arrives, and lies in the folder of its kind, by its content, when it is complete. A
    file that is refused, or whose connection breaks off, leaves nothing behind.
    """
    settings = app_state.service.settings
    size = int(request.headers.get("content-length", "0")) or None  # a number, as the middleware has checked
    with await asyncio.to_thread(open_upload, name, size, settings) as upload:
        block = bytearray()
        try:
            async for part in request.stream():
                block += part
                if len(block) >= BLOCK:
                    await asyncio.to_thread(upload.write, bytes(block))
                    block.clear()
        except ClientDisconnect as error:
            raise CheckpointInvalidError(f"{name} is incomplete: the connection broke off.") from error
        if block:
            await asyncio.to_thread(upload.write, bytes(block))
        path = await asyncio.to_thread(upload.finish)
    app_state.audit_log.write("model.upload", path=str(path))
    return await asyncio.to_thread(_describe, path, settings)


def _describe(path: Path, settings: Settings) -> WeightsFileView:
    parts = PartsIndex(tuple(weights_folders(settings.home, settings.current_model_folders)))
    found = describe_file(path, parts)
    if found is None:
        raise OutputError(f"{path.name} has vanished.")
    return file_view(found, path.parent)
