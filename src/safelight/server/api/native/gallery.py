"""``/v1/gallery``: search, metadata and files of stored images."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from safelight.errors import BlockedError, EntryFileMissingError, EntryMissingError, GalleryError
from safelight.file_formats import FileFormat
from safelight.gallery import Entry, Search
from safelight.gallery.thumbnails import MAX_SIDE, MIN_SIDE
from safelight.server.api.native.common import EntryId, image_response, not_modified
from safelight.server.api.native.openapi_responses import error_responses, example_response, image_responses
from safelight.server.api.native.schemas.gallery import (
    EntryMarks,
    EntryPage,
    EntryRecord,
    EntryView,
    FacetsView,
)
from safelight.server.api.openapi_examples import ENTRIES, ENTRY, FACETS
from safelight.server.core.app_state import CurrentAppState
from safelight.server.core.etags import etag_matches
from safelight.server.core.executors.image_cost import decode_png_cost
from safelight.server.security.dependencies import CurrentPrincipal

router = APIRouter(prefix="/v1/gallery", tags=["gallery"])
ENTRY_RESPONSES = error_responses(EntryMissingError) | example_response(ENTRY)
FILE_ERRORS = error_responses(BlockedError, EntryFileMissingError, EntryMissingError)


@router.get(
    "",
    operation_id="search_gallery",
    summary="Find pictures",
    responses=error_responses(GalleryError) | example_response(ENTRIES),
)
async def search_gallery(
    query: Annotated[Search, Query()], app_state: CurrentAppState, principal: CurrentPrincipal
) -> EntryPage:
    """The user's pictures by text and filters, all of which must match; administrators see those of all users."""
    page = await asyncio.to_thread(app_state.service.gallery.search, query, principal.scope)
    return EntryPage(entries=[EntryView.model_validate(entry) for entry in page.entries], next=page.next)


@router.get(
    "/facets",
    operation_id="gallery_facets",
    summary="Count pictures",
    responses=error_responses() | example_response(FACETS),
)
async def gallery_facets(app_state: CurrentAppState, principal: CurrentPrincipal) -> FacetsView:
    """How many pictures there are by checkpoint, sampler, decision, day (UTC), tag and collection."""
    return FacetsView.model_validate(
        await asyncio.to_thread(app_state.service.gallery.facets, principal.scope)
    )


@router.get(
    "/{entry_id}",
    operation_id="get_entry",
    summary="Get a picture's metadata and record",
    responses=ENTRY_RESPONSES,
)
async def get_entry(
    entry_id: EntryId, app_state: CurrentAppState, principal: CurrentPrincipal
) -> EntryRecord:
    """All metadata of a picture, with the record that says how to reproduce it."""
    return _entry_record(await asyncio.to_thread(app_state.service.gallery.get, entry_id, principal.scope))


@router.patch("/{entry_id}", operation_id="mark_entry", summary="Mark a picture", responses=ENTRY_RESPONSES)
async def mark_entry(
    entry_id: EntryId,
    marks: EntryMarks,
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
) -> EntryRecord:
    """Set or clear the favourite flag, or set tags."""
    changed = await asyncio.to_thread(
        app_state.service.gallery.annotate,
        entry_id,
        principal.scope,
        favourite=marks.favourite,
        tags=marks.tags,
    )
    return _entry_record(changed)


@router.delete(
    "/{entry_id}",
    status_code=204,
    operation_id="delete_entry",
    summary="Delete a picture",
    responses=error_responses(EntryMissingError),
)
async def delete_entry(
    entry_id: EntryId,
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
) -> None:
    """Delete a picture with its file and its record."""

    def delete() -> None:
        app_state.service.gallery.delete(entry_id, principal.scope)
        app_state.audit_log.write("entry.deleted", entry_id=entry_id)

    await asyncio.to_thread(delete)


@router.get(
    "/{entry_id}/file",
    response_class=Response,
    operation_id="entry_file",
    summary="Get a picture's file",
    responses=FILE_ERRORS | image_responses("png", "jpeg", "webp"),
)
async def entry_file(
    entry_id: EntryId, app_state: CurrentAppState, principal: CurrentPrincipal, request: Request
) -> Response:
    """The file as it was written, with infotext and record inside."""
    gallery = app_state.service.gallery
    entry = await asyncio.to_thread(gallery.get, entry_id, principal.scope)
    tag = f'"{entry.sha256}"'
    if entry.sha256 is not None and etag_matches(request, tag):
        return not_modified(tag)
    data = await asyncio.to_thread(gallery.read, entry_id, principal.scope)
    return image_response(data, _file_format(entry), tag, entry_id)


@router.get(
    "/{entry_id}/thumbnail",
    response_class=Response,
    operation_id="entry_thumbnail",
    summary="Get a small copy",
    responses=FILE_ERRORS | image_responses("webp"),
)
async def entry_thumbnail(
    entry_id: EntryId,
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    request: Request,
    side: Annotated[int, Query(ge=MIN_SIDE, le=MAX_SIDE, description="The longer side, in pixels.")] = 256,
) -> Response:
    """The picture scaled down, as WebP."""
    gallery = app_state.service.gallery
    entry = await asyncio.to_thread(gallery.get, entry_id, principal.scope)
    tag = f'"{entry.sha256}-{side}"'
    if entry.sha256 is not None and etag_matches(request, tag):
        return not_modified(tag)
    data = await asyncio.to_thread(gallery.cached_thumbnail, entry_id, side, principal.scope)
    if data is None:
        cost = decode_png_cost((entry.width, entry.height), app_state.studio.limits, side)
        data = await app_state.threads.run_image(cost, gallery.thumbnail, entry_id, side, principal.scope)
    return image_response(data, "webp", tag, f"{entry_id}-{side}")


def _file_format(entry: Entry) -> FileFormat:
    assert entry.kind is not None, "an entry without a file is refused earlier"
    return entry.kind


def _entry_record(entry: Entry) -> EntryRecord:
    shown = EntryView.model_validate(entry)
    return EntryRecord(
        **shown.model_dump(), record=None if entry.record is None else json.loads(entry.record)
    )
