"""``/v1/adapters``: the LoRAs, other adapters and textual inversions that requests and prompts can name."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from safelight.errors import (
    AdapterMissingError,
    AdapterPreviewMissingError,
    BlockedError,
    CheckpointMissingError,
    EntryFileMissingError,
    EntryMissingError,
    ImageFormatError,
    ImageTooManyBytesError,
)
from safelight.gallery.thumbnails import MAX_SIDE, MIN_SIDE, scale_down
from safelight.images.encoding import encode_image
from safelight.models.adapters.catalogue import CataloguedAdapter
from safelight.models.adapters.packaged import adapter_folders
from safelight.models.adapters.previews import AdapterPreview, PreviewFolder
from safelight.moderation.policy import Decision
from safelight.server.api.adapter_lists import adapter_fits, described_adapter
from safelight.server.api.checkpoint_names import select_checkpoint
from safelight.server.api.native.common import image_response, not_modified
from safelight.server.api.native.openapi_responses import error_responses, example_response, image_responses
from safelight.server.api.native.schemas.adapters import (
    AdapterDetails,
    AdapterList,
    AdapterPreviewSource,
    AdapterView,
    TrainingTag,
)
from safelight.server.api.openapi_examples import ADAPTER, ADAPTER_DETAILS, ADAPTERS
from safelight.server.core.app_state import AppState, CurrentAppState
from safelight.server.core.etags import etag_matches
from safelight.server.core.events.previews import CurrentModerationService
from safelight.server.core.executors.image_cost import decode_cost, decode_png_cost
from safelight.server.core.moderation_service import ModerationService
from safelight.server.security.dependencies import CurrentAdmin, CurrentPrincipal, Principal, Role
from safelight.settings import Settings

router = APIRouter(prefix="/v1/adapters", tags=["models"])
AdapterId = Annotated[str, Path(pattern="^[A-Za-z0-9_-]{8,2000}$", description="An adapter's id, as listed.")]
ForCheckpoint = Annotated[
    str | None,
    Query(max_length=300, description="The checkpoint for `fits`; the default one when not given."),
]
PREVIEW_SIDE = 512
"""The longer side of a preview that is set, in pixels."""


@router.get(
    "",
    operation_id="list_adapters",
    summary="List adapters",
    responses=error_responses(CheckpointMissingError) | example_response(ADAPTERS),
)
async def list_adapters(
    app_state: CurrentAppState, principal: CurrentPrincipal, checkpoint: ForCheckpoint = None
) -> AdapterList:
    """What changes networks or their vocabulary.

    LoRAs and the like are named in a request's ``adapters`` or in its prompt, textual inversions in both prompts.
    """

    def view_all() -> AdapterList:
        views = _Views(app_state, principal, checkpoint)
        return AdapterList(adapters=[AdapterView(**views.fields(each)) for each in views.adapters()])

    return await asyncio.to_thread(view_all)


@router.get(
    "/{adapter_id}",
    operation_id="get_adapter",
    summary="Get an adapter",
    responses=error_responses(AdapterMissingError, CheckpointMissingError)
    | example_response(ADAPTER_DETAILS),
)
async def get_adapter(
    adapter_id: AdapterId,
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    checkpoint: ForCheckpoint = None,
) -> AdapterDetails:
    """An adapter with its metadata and the words that it was trained with."""

    def details() -> AdapterDetails:
        adapter = _get(adapter_id, app_state)
        found = described_adapter(adapter.named, adapter.summary.kind, app_state.service.settings)
        path, description = adapter.named.path, found.description
        return AdapterDetails(
            **_Views(app_state, principal, checkpoint).fields(adapter),
            file=str(path) if principal.role is Role.ADMIN else adapter.named.place + path.suffix,
            hash=found.hash,
            key_style=description.key_style,
            components=list(description.components),
            layers=description.layers,
            training_tags=[
                TrainingTag(tag=tag, count=count) for tag, count in found.file.training_tags.items()
            ],
            metadata=dict(found.metadata),
        )

    return await asyncio.to_thread(details)


@router.put(
    "/{adapter_id}/favourite",
    status_code=204,
    operation_id="add_favourite_adapter",
    summary="Mark an adapter",
    responses=error_responses(AdapterMissingError),
)
async def add_favourite(
    adapter_id: AdapterId, app_state: CurrentAppState, principal: CurrentPrincipal
) -> None:
    """Make an adapter a favourite of the user."""
    await asyncio.to_thread(_mark, adapter_id, app_state, principal, favourite=True)


@router.delete(
    "/{adapter_id}/favourite",
    status_code=204,
    operation_id="remove_favourite_adapter",
    summary="Unmark an adapter",
    responses=error_responses(AdapterMissingError),
)
async def remove_favourite(
    adapter_id: AdapterId, app_state: CurrentAppState, principal: CurrentPrincipal
) -> None:
    """Make an adapter no favourite of the user."""
    await asyncio.to_thread(_mark, adapter_id, app_state, principal, favourite=False)


@router.get(
    "/{adapter_id}/preview",
    response_class=Response,
    operation_id="adapter_preview",
    summary="Get an adapter's preview",
    responses=error_responses(
        AdapterMissingError,
        AdapterPreviewMissingError,
        BlockedError,
        ImageFormatError,
        ImageTooManyBytesError,
    )
    | image_responses("webp"),
)
async def adapter_preview(
    adapter_id: AdapterId,
    app_state: CurrentAppState,
    principal: CurrentPrincipal,  # noqa: ARG001  for users only
    moderation_service: CurrentModerationService,
    request: Request,
    side: Annotated[int, Query(ge=MIN_SIDE, le=MAX_SIDE, description="The longer side, in pixels.")] = 256,
) -> Response:
    """The picture beside an adapter's file, scaled down, as WebP. One that the policy does not allow is not shown."""
    preview = await asyncio.to_thread(_find_preview, adapter_id, app_state)
    tag = f'"{preview.version}-{side}"'
    if etag_matches(request, tag):
        return not_modified(tag)
    settings = app_state.service.settings
    # What was judged by another policy or classifier is judged again.
    key = hashlib.sha256(f"{preview.version} {settings.policy} {settings.classifier}".encode()).hexdigest()[
        :32
    ]
    data = await asyncio.to_thread(app_state.adapter_thumbnails.find, key, side)
    if data is None:
        data = await _make_thumbnail(preview, key, side, app_state, moderation_service)
    return image_response(data, "webp", tag, f"{preview.version}-{side}")


@router.put(
    "/{adapter_id}/preview",
    operation_id="set_adapter_preview",
    summary="Set an adapter's preview",
    responses=error_responses(AdapterMissingError, BlockedError, EntryFileMissingError, EntryMissingError)
    | example_response(ADAPTER),
)
async def set_preview(
    adapter_id: AdapterId,
    body: AdapterPreviewSource,
    app_state: CurrentAppState,
    principal: CurrentAdmin,
) -> AdapterView:
    """Make a picture of the gallery the preview of an adapter, for all users; for administrators.

    It is written beside the adapter's file as NAME.preview.png, where A1111 and SD.Next look for it too; if
    nothing can be written there, into the data directory.
    """
    adapter = await asyncio.to_thread(_get, adapter_id, app_state)
    gallery = app_state.service.gallery
    entry = await asyncio.to_thread(gallery.get, body.entry, principal.scope)
    data = await asyncio.to_thread(gallery.read, body.entry, principal.scope)
    if entry.decision is not Decision.ALLOW:
        raise BlockedError("Previews are for everybody, and this picture is to be reviewed first.", hint="")
    cost = decode_png_cost((entry.width, entry.height), app_state.studio.limits, PREVIEW_SIDE)
    png = await app_state.threads.run_image(cost, _preview_png, data)

    def write() -> AdapterView:
        previews = PreviewFolder(app_state.service.settings.home)
        path = previews.set(adapter.summary.kind, adapter.named, png)
        app_state.audit_log.write("adapter.preview.set", adapter=adapter.named.place, path=str(path))
        return AdapterView(**_Views(app_state, principal, None).fields(adapter))

    return await app_state.threads.run_write(write)


@router.delete(
    "/{adapter_id}/preview",
    operation_id="remove_adapter_preview",
    summary="Remove an adapter's preview",
    responses=error_responses(AdapterMissingError, AdapterPreviewMissingError) | example_response(ADAPTER),
)
async def remove_preview(
    adapter_id: AdapterId, app_state: CurrentAppState, principal: CurrentAdmin
) -> AdapterView:
    """Delete the preview that was set; another picture beside the file stays, and is then shown; for administrators."""

    def remove() -> AdapterView:
        adapter = _get(adapter_id, app_state)
        PreviewFolder(app_state.service.settings.home).remove(adapter.summary.kind, adapter.named)
        app_state.audit_log.write("adapter.preview.remove", adapter=adapter.named.place)
        return AdapterView(**_Views(app_state, principal, None).fields(adapter))

    return await app_state.threads.run_write(remove)


class _Views:
    """Makes what a user sees of adapters.

    Args:
        app_state: The application's state.
        principal: The user.
        checkpoint: The checkpoint that adapters may fit; None for the default one.

    Raises:
        CheckpointMissingError: There is no such checkpoint.
    """

    def __init__(self, app_state: AppState, principal: Principal, checkpoint: str | None) -> None:
        self._app_state = app_state
        self._settings: Settings = app_state.service.settings
        self._previews = PreviewFolder(self._settings.home)
        self._family = select_checkpoint(checkpoint, self._settings).family
        self._favourites = app_state.adapter_favourites.of(principal.owner)
        self._uses = app_state.service.gallery.adapter_uses(principal.scope)

    def adapters(self) -> tuple[CataloguedAdapter, ...]:
        """All of them, the LoRAs first."""
        found = self._app_state.adapters.list(_folders(self._settings))
        return tuple(sorted(found, key=lambda each: each.summary.kind != "LoRA"))

    def fields(self, adapter: CataloguedAdapter) -> dict[str, Any]:
        """The fields of an ``AdapterView``."""
        named, summary = adapter.named, adapter.summary
        digest = self._app_state.adapters.digest(adapter)
        adapter_id = _adapter_id(adapter)
        preview = self._previews.find(summary.kind, named)
        fits = adapter_fits(summary.kind, summary.family, self._family) if self._family else None
        return {
            "id": adapter_id,
            "name": named.name,
            "place": named.place,
            "alias": named.alias,
            "kind": summary.kind,
            "family": summary.family or None,
            "fits": fits,
            "types": list(summary.types),
            "rank": summary.rank,
            "trigger_words": list(summary.trigger_words),
            "size": adapter.size,
            "modified": datetime.fromtimestamp(adapter.modified / 1e9, UTC),
            "digest": digest,
            "preview": f"/v1/adapters/{adapter_id}/preview?v={preview.version}" if preview else None,
            "preview_set": preview is not None and preview.is_set,
            "favourite": (summary.kind, named.place) in self._favourites,
            "pictures": self._uses.get(digest, 0) if digest else 0,
        }


def _folders(settings: Settings) -> list[FilePath]:
    return adapter_folders(settings.home, settings.current_model_folders)


def _adapter_id(adapter: CataloguedAdapter) -> str:
    text = f"{adapter.summary.kind}/{adapter.named.place}"
    return urlsafe_b64encode(text.encode(errors="surrogateescape")).decode().rstrip("=")


def _get(adapter_id: str, app_state: AppState) -> CataloguedAdapter:
    """The adapter of an id.

    Raises:
        AdapterMissingError: There is none.
    """
    try:
        padded = adapter_id + "=" * (-len(adapter_id) % 4)
        kind, _, place = urlsafe_b64decode(padded).decode(errors="surrogateescape").partition("/")
    except ValueError as error:
        raise AdapterMissingError("There is no adapter of this id.", field="") from error
    return app_state.adapters.get(kind, place, _folders(app_state.service.settings))


def _mark(adapter_id: str, app_state: AppState, principal: Principal, *, favourite: bool) -> None:
    adapter = _get(adapter_id, app_state)
    app_state.adapter_favourites.mark(
        principal.owner, adapter.summary.kind, adapter.named.place, favourite=favourite
    )


def _find_preview(adapter_id: str, app_state: AppState) -> AdapterPreview:
    adapter = _get(adapter_id, app_state)
    found = PreviewFolder(app_state.service.settings.home).find(adapter.summary.kind, adapter.named)
    if found is None:
        raise AdapterPreviewMissingError
    return found


async def _make_thumbnail(
    preview: AdapterPreview, key: str, side: int, app_state: AppState, moderation_service: ModerationService
) -> bytes:
    """A preview's thumbnail, which is kept.

    Raises:
        BlockedError: The policy does not allow the preview.
        SafelightError: It cannot be read, or is no picture.
    """
    limits = app_state.studio.limits
    data = await asyncio.to_thread(preview.read, limits.max_bytes)
    cost = await app_state.threads.run_inspect(decode_cost, data, limits, side)
    judgement = await moderation_service.judge_cached(data)
    if judgement.error is not None:
        raise judgement.error
    if judgement.decision != Decision.ALLOW:
        raise BlockedError("The policy does not allow this preview.")
    return await app_state.threads.run_image(cost, app_state.adapter_thumbnails.get, key, side, lambda: data)


def _preview_png(data: bytes) -> bytes:
    return encode_image(scale_down(data, PREVIEW_SIDE), "png")
