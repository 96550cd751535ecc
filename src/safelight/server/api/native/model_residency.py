"""``/v1/models/load`` and ``/v1/models/unload``: the checkpoints that workers keep in memory, for administrators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter

from safelight.errors import (
    CheckpointInvalidError,
    CheckpointMissingError,
    RoleRequiredError,
    WorkerMissingError,
)
from safelight.server.api.native.openapi_responses import error_responses, example_response
from safelight.server.api.native.schemas.models import LoadModelRequest, ResidencyCommand, UnloadModelRequest
from safelight.server.api.openapi_examples import MEMORY_COMMAND
from safelight.server.core.app_state import AppState, CurrentAppState
from safelight.server.security.allowlist import check_checkpoint, default_checkpoint_name
from safelight.server.security.dependencies import CurrentAdmin

router = APIRouter(prefix="/v1/models", tags=["models"])
MODEL_ERRORS = error_responses(
    RoleRequiredError, CheckpointMissingError, CheckpointInvalidError, WorkerMissingError
)
Workers = Sequence[Mapping[str, Any]]


@router.post(
    "/load",
    operation_id="load_model",
    summary="Load a checkpoint into memory",
    status_code=202,
    responses=MODEL_ERRORS | example_response(MEMORY_COMMAND, 202),
)
async def load_model(body: LoadModelRequest, app_state: CurrentAppState, _: CurrentAdmin) -> ResidencyCommand:
    """Have every worker load a checkpoint, so that generation starts at once; for administrators.

    Each worker does it when it runs no job, before it claims the next one; the least recently used checkpoints are
    evicted for it. ``loaded_by`` of ``GET /v1/models`` shows when it is done, ``last_error`` of ``GET /v1/system`` why
    it failed.
    """

    def put() -> ResidencyCommand:
        workers = _running_workers(app_state)
        app_state.service.request_load(_worker_checkpoint(body.checkpoint, app_state))
        app_state.audit_log.write("checkpoint.load", checkpoint=body.checkpoint)
        return _memory_command(body.checkpoint, workers)

    return await app_state.threads.run_write(put)


@router.post(
    "/unload",
    operation_id="unload_model",
    summary="Unload checkpoints from memory",
    status_code=202,
    responses=MODEL_ERRORS | example_response(MEMORY_COMMAND, 202),
)
async def unload_model(
    body: UnloadModelRequest, app_state: CurrentAppState, _: CurrentAdmin
) -> ResidencyCommand:
    """Have every worker unload a checkpoint, or with null all of them; for administrators.

    Checkpoints that no job uses are unloaded within a second or two, others when their jobs are done. A job that needs
    one loads it again.
    """

    def put() -> ResidencyCommand:
        workers = _running_workers(app_state)
        app_state.service.request_unload(
            None if body.checkpoint is None else _resident_name(body.checkpoint, workers, app_state)
        )
        app_state.audit_log.write("checkpoint.unload", checkpoint=body.checkpoint)
        return _memory_command(body.checkpoint, workers)

    return await app_state.threads.run_write(put)


def _running_workers(app_state: AppState) -> Workers:
    """The running workers, which receive the command; there must be one, since a later worker would not receive it."""
    if not (workers := app_state.service.workers()):
        raise WorkerMissingError
    return workers


def _resident_name(name: str, workers: Workers, app_state: AppState) -> str:
    """A checkpoint's name among workers, also where its files are deleted and it is still in memory."""
    if any(name in worker["checkpoints"] for worker in workers):
        return name
    return _worker_checkpoint(name, app_state)


def _worker_checkpoint(name: str, app_state: AppState) -> str:
    """The workers' name of a checkpoint that users name."""
    settings = app_state.service.settings
    return (
        settings.checkpoint if name == default_checkpoint_name(settings) else check_checkpoint(name, settings)
    )


def _memory_command(checkpoint: str | None, workers: Workers) -> ResidencyCommand:
    return ResidencyCommand(checkpoint=checkpoint, workers=[worker["name"] for worker in workers])
