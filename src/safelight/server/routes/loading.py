"""``/v1/models/load`` and ``/v1/models/unload``: the checkpoints that workers keep in memory, for administrators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter

from safelight.errors import CheckpointInvalidError, CheckpointMissingError, RoleError, WorkerMissingError
from safelight.server.auth import Admin
from safelight.server.names import check_checkpoint, own_name
from safelight.server.routes.describing import errors, shown
from safelight.server.routes.examples import MEMORY_ORDER
from safelight.server.schemas.models import MemoryOrder, ModelToLoad, ModelToUnload
from safelight.server.state import Backstage, Behind

router = APIRouter(prefix="/v1/models", tags=["models"])
REFUSALS = errors(RoleError, CheckpointMissingError, CheckpointInvalidError, WorkerMissingError)
Workers = Sequence[Mapping[str, Any]]


@router.post(
    "/load",
    operation_id="load_model",
    summary="Load a checkpoint into memory",
    status_code=202,
    responses=REFUSALS | shown(MEMORY_ORDER, 202),
)
async def load_model(body: ModelToLoad, behind: Behind, _: Admin) -> MemoryOrder:
    """Have every worker load a checkpoint, so that generation starts at once; for administrators.

    Each worker does it when it runs no job, before it claims the next one; the least recently used checkpoints are
    evicted for it. ``loaded_by`` of ``GET /v1/models`` shows when it is done, ``last_error`` of ``GET /v1/system`` why
    it failed.
    """

    def put() -> MemoryOrder:
        workers = _workers(behind)
        behind.service.load(_called(body.checkpoint, behind))
        behind.audit.note("checkpoint.load", checkpoint=body.checkpoint)
        return _order(body.checkpoint, workers)

    return await behind.threads.write(put)


@router.post(
    "/unload",
    operation_id="unload_model",
    summary="Unload checkpoints from memory",
    status_code=202,
    responses=REFUSALS | shown(MEMORY_ORDER, 202),
)
async def unload_model(body: ModelToUnload, behind: Behind, _: Admin) -> MemoryOrder:
    """Have every worker unload a checkpoint, or with null all of them; for administrators.

    Checkpoints that no job uses are unloaded within a second or two, others when their jobs are done. A job that needs
    one loads it again.
    """

    def put() -> MemoryOrder:
        workers = _workers(behind)
        behind.service.unload(None if body.checkpoint is None else _held(body.checkpoint, workers, behind))
        behind.audit.note("checkpoint.unload", checkpoint=body.checkpoint)
        return _order(body.checkpoint, workers)

    return await behind.threads.write(put)


def _workers(behind: Backstage) -> Workers:
    """The running workers, which receive the command; there must be one, since a later worker would not receive it."""
    if not (workers := behind.service.workers()):
        raise WorkerMissingError
    return workers


def _held(name: str, workers: Workers, behind: Backstage) -> str:
    """A checkpoint's name among workers, also where its files are deleted and it is still in memory."""
    if any(name in worker["checkpoints"] for worker in workers):
        return name
    return _called(name, behind)


def _called(name: str, behind: Backstage) -> str:
    """The workers' name of a checkpoint that users name."""
    settings = behind.service.settings
    return settings.checkpoint if name == own_name(settings) else check_checkpoint(name, settings.home)


def _order(checkpoint: str | None, workers: Workers) -> MemoryOrder:
    return MemoryOrder(checkpoint=checkpoint, workers=[worker["name"] for worker in workers])
