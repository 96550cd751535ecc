"""``/v1/gallery``: search, metadata and files of stored images."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from safelight.errors import BlockedError, EntryFileMissingError, EntryMissingError, GalleryError
from safelight.file_formats import FileFormat
from safelight.gallery import Entry, Search
from safelight.gallery.thumbnails import LARGEST, SMALLEST
from safelight.server.auth import Who
from safelight.server.picture_cost import reading_ours
from safelight.server.routes.common import (
    EntryId,
    picture_response,
    same_as_before,
    unchanged,
)
from safelight.server.routes.describing import errors, pictures, shown
from safelight.server.routes.examples import ENTRIES, ENTRY, FACETS
from safelight.server.schemas.gallery import EntryMarks, EntryPage, EntryRecord, EntryView, FacetsView
from safelight.server.state import Behind

router = APIRouter(prefix="/v1/gallery", tags=["gallery"])
ONE = errors(EntryMissingError) | shown(ENTRY)
FILE = errors(BlockedError, EntryFileMissingError, EntryMissingError)


@router.get(
    "",
    operation_id="search_gallery",
    summary="Find pictures",
    responses=errors(GalleryError) | shown(ENTRIES),
)
async def search_gallery(wanted: Annotated[Search, Query()], behind: Behind, who: Who) -> EntryPage:
    """The user's pictures by text and filters, all of which must match; administrators see those of all users."""
    page = await asyncio.to_thread(behind.service.gallery.search, wanted, who.scope)
    return EntryPage(entries=[EntryView.model_validate(entry) for entry in page.entries], next=page.next)


@router.get(
    "/facets", operation_id="gallery_facets", summary="Count pictures", responses=errors() | shown(FACETS)
)
async def gallery_facets(behind: Behind, who: Who) -> FacetsView:
    """How many pictures there are by checkpoint, sampler, decision and day (UTC)."""
    return FacetsView.model_validate(await asyncio.to_thread(behind.service.gallery.facets, who.scope))


@router.get(
    "/{entry_id}", operation_id="get_entry", summary="Get a picture's metadata and record", responses=ONE
)
async def get_entry(entry_id: EntryId, behind: Behind, who: Who) -> EntryRecord:
    """All metadata of a picture, with the record that says how to reproduce it."""
    return _record(await asyncio.to_thread(behind.service.gallery.get, entry_id, who.scope))


@router.patch("/{entry_id}", operation_id="mark_entry", summary="Mark a picture", responses=ONE)
async def mark_entry(entry_id: EntryId, marks: EntryMarks, behind: Behind, who: Who) -> EntryRecord:
    """Set or clear the favourite flag, or set tags."""
    changed = await asyncio.to_thread(
        behind.service.gallery.mark, entry_id, who.scope, favourite=marks.favourite, tags=marks.tags
    )
    return _record(changed)


@router.delete(
    "/{entry_id}",
    status_code=204,
    operation_id="delete_entry",
    summary="Delete a picture",
    responses=errors(EntryMissingError),
)
async def delete_entry(entry_id: EntryId, behind: Behind, who: Who) -> None:
    """Delete a picture with its file and its record."""

    def delete() -> None:
        behind.service.gallery.delete(entry_id, who.scope)
        behind.audit.note("entry.deleted", entry_id=entry_id)

    await asyncio.to_thread(delete)


@router.get(
    "/{entry_id}/file",
    response_class=Response,
    operation_id="entry_file",
    summary="Get a picture's file",
    responses=FILE | pictures("png", "jpeg", "webp"),
)
async def entry_file(entry_id: EntryId, behind: Behind, who: Who, request: Request) -> Response:
    """The file as it was written, with infotext and record inside."""
    gallery = behind.service.gallery
    entry = await asyncio.to_thread(gallery.get, entry_id, who.scope)
    tag = f'"{entry.sha256}"'
    if entry.sha256 is not None and same_as_before(request, tag):
        return unchanged(tag)
    data = await asyncio.to_thread(gallery.read, entry_id, who.scope)
    return picture_response(data, _kind(entry), tag, entry_id)


@router.get(
    "/{entry_id}/thumbnail",
    response_class=Response,
    operation_id="entry_thumbnail",
    summary="Get a small copy",
    responses=FILE | pictures("webp"),
)
async def entry_thumbnail(
    entry_id: EntryId,
    behind: Behind,
    who: Who,
    request: Request,
    side: Annotated[int, Query(ge=SMALLEST, le=LARGEST, description="The longer side, in pixels.")] = 256,
) -> Response:
    """The picture scaled down, as WebP."""
    gallery = behind.service.gallery
    entry = await asyncio.to_thread(gallery.get, entry_id, who.scope)
    tag = f'"{entry.sha256}-{side}"'
    if entry.sha256 is not None and same_as_before(request, tag):
        return unchanged(tag)
    data = await asyncio.to_thread(gallery.kept_thumbnail, entry_id, side, who.scope)
    if data is None:
        cost = reading_ours((entry.width, entry.height), behind.studio.limits, side)
        data = await behind.threads.pixels(cost, gallery.thumbnail, entry_id, side, who.scope)
    return picture_response(data, "webp", tag, f"{entry_id}-{side}")


def _kind(entry: Entry) -> FileFormat:
    assert entry.kind is not None, "an entry without a file is refused earlier"
    return entry.kind


def _record(entry: Entry) -> EntryRecord:
    shown = EntryView.model_validate(entry)
    return EntryRecord(
        **shown.model_dump(), record=None if entry.record is None else json.loads(entry.record)
    )
