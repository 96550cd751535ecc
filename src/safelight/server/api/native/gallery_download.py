"""Several pictures of the gallery as one zip archive, which a page can request with a form."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from safelight.errors import BlockedError, EntryFileMissingError, EntryMissingError, UnsupportedMediaTypeError
from safelight.server.api.native.openapi_responses import BINARY, error_responses
from safelight.server.api.native.schemas.gallery import EntryIds
from safelight.server.core.app_state import CurrentAppState
from safelight.server.core.request_bodies.multipart import URLENCODED, PageFormRoute
from safelight.server.security.dependencies import CurrentPrincipal

router = APIRouter(prefix="/v1/gallery", tags=["gallery"], route_class=PageFormRoute)
ZIP = "application/zip"
ARCHIVE_NAME = "safelight-pictures.zip"


@router.post(
    "/download",
    response_class=StreamingResponse,
    operation_id="download_entries",
    summary="Download several pictures",
    responses=error_responses(
        BlockedError, EntryFileMissingError, EntryMissingError, UnsupportedMediaTypeError
    )
    | {200: {"description": "A zip archive.", "content": {ZIP: {"schema": BINARY}}}},
    openapi_extra={
        "requestBody": {
            "content": {
                URLENCODED: {
                    "schema": {
                        "type": "object",
                        "properties": {"ids": {"type": "array", "items": {"type": "string"}}},
                        "required": ["ids"],
                    }
                }
            }
        }
    },
)
async def download_entries(
    body: EntryIds, app_state: CurrentAppState, principal: CurrentPrincipal
) -> StreamingResponse:
    """The pictures' files in a zip archive, which is made while it is sent. The body may be a page's form.

    A file not-included.txt in it names the pictures that have no file, such as blocked ones, with the reasons. If none
    has one, the response is the first picture's error.
    """
    archive = await asyncio.to_thread(app_state.service.gallery.archive, body.ids, principal.scope)
    headers = {
        "Content-Disposition": f'attachment; filename="{ARCHIVE_NAME}"',
        "Cache-Control": "no-store",
    }
    return StreamingResponse(archive, media_type=ZIP, headers=headers)
