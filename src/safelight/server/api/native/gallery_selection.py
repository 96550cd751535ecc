"""Several pictures of the gallery at once: mark and delete them."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from safelight.errors import CollectionMissingError, SafelightError
from safelight.gallery import BulkChange, BulkResult
from safelight.server.api.native.errors import NativeError
from safelight.server.api.native.openapi_responses import error_responses, example_response
from safelight.server.api.native.schemas.gallery import (
    BulkMarks,
    DeletedEntries,
    EntryIds,
    EntryOutcome,
    MarkedEntries,
    MarkedEntry,
)
from safelight.server.api.openapi_examples import DELETED_ENTRIES, MARKED_ENTRIES
from safelight.server.core.app_state import CurrentAppState
from safelight.server.security.dependencies import CurrentPrincipal

router = APIRouter(prefix="/v1/gallery", tags=["gallery"])


@router.patch(
    "",
    operation_id="mark_entries",
    summary="Mark several pictures",
    responses=error_responses(CollectionMissingError) | example_response(MARKED_ENTRIES),
)
async def mark_entries(
    body: BulkMarks, app_state: CurrentAppState, principal: CurrentPrincipal
) -> MarkedEntries:
    """Change the favourite flag, tags and collections of pictures; says for each whether it was done.

    A collection that does not exist is an error of the whole request, and nothing is changed.
    """
    change = BulkChange.model_validate(body.model_dump(exclude={"ids"}))
    gallery = app_state.service.gallery
    results = await asyncio.to_thread(gallery.annotate_many, body.ids, change, principal.scope)
    return MarkedEntries(results=[_marked(result) for result in results])


@router.post(
    "/delete",
    operation_id="delete_entries",
    summary="Delete several pictures",
    responses=error_responses() | example_response(DELETED_ENTRIES),
)
async def delete_entries(
    body: EntryIds, app_state: CurrentAppState, principal: CurrentPrincipal
) -> DeletedEntries:
    """Delete pictures with their files and records; says for each whether it was done."""

    def delete() -> list[BulkResult]:
        results = app_state.service.gallery.delete_many(body.ids, principal.scope)
        if deleted := [
            result.id for result in results if result.error is None
        ]:  # one line: their rate is limited
            app_state.audit_log.write("entry.deleted", count=len(deleted), entry_ids=" ".join(deleted))
        return results

    results = await asyncio.to_thread(delete)
    return DeletedEntries(results=[EntryOutcome(id=each.id, error=_error(each.error)) for each in results])


def _marked(result: BulkResult) -> MarkedEntry:
    if result.entry is None:
        return MarkedEntry(id=result.id, error=_error(result.error))
    entry = result.entry
    return MarkedEntry(
        id=result.id,
        favourite=entry.favourite,
        tags=list(entry.tags),
        collections=list(entry.collections),
    )


def _error(error: SafelightError | None) -> NativeError | None:
    return None if error is None else NativeError.model_validate(error.to_dict())
