"""``/v1/collections``: named sets of pictures of the gallery."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path

from safelight.errors import CollectionExistsError, CollectionMissingError, GalleryError
from safelight.server.api.native.openapi_responses import error_responses, example_response
from safelight.server.api.native.schemas.gallery import CollectionFields, CollectionList, CollectionView
from safelight.server.api.openapi_examples import COLLECTION, COLLECTIONS
from safelight.server.core.app_state import CurrentAppState
from safelight.server.security.dependencies import CurrentPrincipal

router = APIRouter(prefix="/v1/collections", tags=["gallery"])
CollectionId = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="A collection's id.")]


@router.get(
    "",
    operation_id="list_collections",
    summary="List collections",
    responses=error_responses() | example_response(COLLECTIONS),
)
async def list_collections(app_state: CurrentAppState, principal: CurrentPrincipal) -> CollectionList:
    """The user's collections by name; administrators see those of all users."""
    found = await asyncio.to_thread(app_state.service.gallery.collections.list, principal.scope)
    return CollectionList(collections=[CollectionView.model_validate(each) for each in found])


@router.post(
    "",
    status_code=201,
    operation_id="add_collection",
    summary="Make a collection",
    responses=error_responses(CollectionExistsError, GalleryError) | example_response(COLLECTION, 201),
)
async def add_collection(
    body: CollectionFields,
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
) -> CollectionView:
    """Make an empty collection. Pictures are added with PATCH /v1/gallery."""
    collections = app_state.service.gallery.collections
    made = await asyncio.to_thread(collections.add, body.name, principal.owner)
    return CollectionView.model_validate(made)


@router.patch(
    "/{collection_id}",
    operation_id="rename_collection",
    summary="Rename a collection",
    responses=error_responses(CollectionMissingError, CollectionExistsError) | example_response(COLLECTION),
)
async def rename_collection(
    collection_id: CollectionId,
    body: CollectionFields,
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
) -> CollectionView:
    """Give a collection another name."""
    collections = app_state.service.gallery.collections
    renamed = await asyncio.to_thread(collections.rename, collection_id, body.name, principal.scope)
    return CollectionView.model_validate(renamed)


@router.delete(
    "/{collection_id}",
    status_code=204,
    operation_id="delete_collection",
    summary="Delete a collection",
    responses=error_responses(CollectionMissingError),
)
async def delete_collection(
    collection_id: CollectionId,
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
) -> None:
    """Delete a collection. Its pictures stay in the gallery."""
    collections = app_state.service.gallery.collections
    await asyncio.to_thread(collections.delete, collection_id, principal.scope)
