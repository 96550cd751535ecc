"""``/v1/models/files`` and ``/v1/models/folders``: every weights file that this server sees, and where it looks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query

from safelight.errors import (
    FileMissingError,
    OutputError,
    RoleRequiredError,
    SettingsError,
    UsageError,
)
from safelight.models.checkpoints.discovery import checkpoints_folder
from safelight.models.inventory.folders import (
    FoundFile,
    add_model_folders,
    folders_of,
    list_files,
    remove_model_folder,
)
from safelight.models.inventory.kind_folders import weights_folders
from safelight.server.api.native.openapi_responses import error_responses, example_response
from safelight.server.api.native.schemas.models import (
    FolderList,
    FolderRequest,
    FolderView,
    WeightsFileList,
    WeightsFileView,
)
from safelight.server.api.openapi_examples import MODEL_FILES, MODEL_FOLDERS
from safelight.server.core.app_state import AppState, CurrentAppState
from safelight.server.security.dependencies import CurrentAdmin, CurrentPrincipal
from safelight.settings import Settings

router = APIRouter(prefix="/v1/models", tags=["models"])
MAX_PAGE = 500
FOLDER_ERRORS = error_responses(RoleRequiredError, FileMissingError, UsageError, SettingsError, OutputError)


@router.get(
    "/files",
    operation_id="list_model_files",
    summary="List all files of weights",
    responses=error_responses() | example_response(MODEL_FILES),
)
async def list_model_files(
    app_state: CurrentAppState,
    _: CurrentPrincipal,
    text: Annotated[str, Query(max_length=200, description="Only files whose path has this in it.")] = "",
    kind: Annotated[
        str | None, Query(max_length=40, description="Only files of this kind, as LoRA or autoencoder.")
    ] = None,
    usable: Annotated[bool | None, Query(description="Only those that can be used, or cannot.")] = None,
    start: Annotated[int, Query(ge=0, description="Where the page begins: next of the one before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="How many files at most.")] = 100,
) -> WeightsFileList:
    """Every file of weights in the data directory and in the model folders: what it is, and if not usable, why.

    Headers are read for at most two seconds, so that a page may have fewer files than its limit, or none, and still
    a ``next``.
    """
    settings = app_state.service.settings
    folders = weights_folders(settings.home, settings.current_model_folders)
    page = await asyncio.to_thread(
        list_files, folders, text=text, kind=kind, usable=usable, start=start, limit=limit
    )
    files = [file_view(file, folder) for folder, file in page.files]
    return WeightsFileList(files=files, total=page.total, next=page.next)


@router.get(
    "/folders",
    operation_id="list_model_folders",
    summary="List the model folders",
    responses=error_responses(RoleRequiredError) | example_response(MODEL_FOLDERS),
)
async def list_model_folders(app_state: CurrentAppState, _: CurrentAdmin) -> FolderList:
    """The folders of the setting ``model_folders``, and whether they are there; for administrators."""
    return await asyncio.to_thread(_folder_list, app_state.service.settings)


@router.post(
    "/folders",
    operation_id="add_model_folder",
    summary="Add a model folder",
    responses=FOLDER_ERRORS | example_response(MODEL_FOLDERS),
)
async def add_model_folder(body: FolderRequest, app_state: CurrentAppState, _: CurrentAdmin) -> FolderList:
    """Use the models of another program where they are, at once, as ``safelight models adopt``; for administrators."""

    def add(settings: Settings) -> None:
        if not Path(body.path).is_absolute():
            raise UsageError(
                f"{body.path} is no absolute path.", hint="Give the whole path on the server's machine."
            )
        folders = folders_of(Path(body.path))
        if not folders:
            raise UsageError(f"None of the folders in {body.path} exists.")
        add_model_folders(settings.home, folders)

    return await _change(app_state, body.path, "model_folder.add", add)


@router.delete(
    "/folders",
    operation_id="remove_model_folder",
    summary="Remove a model folder",
    responses=FOLDER_ERRORS | example_response(MODEL_FOLDERS),
)
async def remove_folder(
    app_state: CurrentAppState,
    _: CurrentAdmin,
    path: Annotated[str, Query(max_length=4096, description="As listed.")],
) -> FolderList:
    """No longer look into a folder; nothing in it is touched; for administrators."""
    return await _change(
        app_state,
        path,
        "model_folder.remove",
        lambda settings: remove_model_folder(settings.home, Path(path)),
    )


async def _change(
    app_state: AppState, path: str, event: str, change: Callable[[Settings], object]
) -> FolderList:
    settings = app_state.service.settings

    def run() -> FolderList:
        if not settings.model_folders_can_change:
            raise SettingsError(
                "model_folders is set by the environment or a flag, which safelight.toml cannot change.",
                hint="Take it out of there.",
            )
        change(settings)
        app_state.audit_log.write(event, path=path)
        return _folder_list(settings)

    return await app_state.threads.run_write(run)


def _folder_list(settings: Settings) -> FolderList:
    folders = [FolderView(path=str(each), present=each.is_dir()) for each in settings.current_model_folders]
    own = str(checkpoints_folder(settings.home).absolute())
    return FolderList(folders=folders, can_change=settings.model_folders_can_change, own=own)


def file_view(file: FoundFile, folder: Path) -> WeightsFileView:
    """A file by its place below its folder: where folders lie is for administrators."""
    name = file.path.relative_to(folder).as_posix()
    return WeightsFileView(
        name=name if name != "." else folder.name,
        folder=folder.name,
        kind=file.type,
        family=file.family,
        precision=file.precision or None,
        size=file.size,
        usable=file.usable,
        reason=file.reason.replace(str(file.path), name).replace(f"{folder}/", ""),
    )
