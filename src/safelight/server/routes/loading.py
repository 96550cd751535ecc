"""``/v1/models/load`` and ``/v1/models/unload``: what workers have in memory, for administrators."""

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
    """Have every worker load a checkpoint, so that drawing begins at once; for administrators.

    Each does it when no job is on its way there, before it begins the next one; the least recently used checkpoints
    make room. ``loaded_by`` of ``GET /v1/models`` says when it is done, ``last_error`` of ``GET /v1/system`` why not.
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
    summary="Take checkpoints out of memory",
    status_code=202,
    responses=REFUSALS | shown(MEMORY_ORDER, 202),
)
async def unload_model(body: ModelToUnload, behind: Behind, _: Admin) -> MemoryOrder:
    """Have every worker drop a checkpoint, or with null all of them; for administrators.

    What no job is using goes within a second or two, all else when the jobs on their way are done. Drawing loads it
    again.
    """

    def put() -> MemoryOrder:
        workers = _workers(behind)
        behind.service.unload(None if body.checkpoint is None else _held(body.checkpoint, workers, behind))
        behind.audit.note("checkpoint.unload", checkpoint=body.checkpoint)
        return _order(body.checkpoint, workers)

    return await behind.threads.write(put)


def _workers(behind: Backstage) -> Workers:
    """Those who hear it; there has to be one, since nobody hears later what was said before."""
    if not (workers := behind.service.workers()):
        raise WorkerMissingError
    return workers


def _held(name: str, workers: Workers, behind: Backstage) -> str:
    """A checkpoint's name among workers, also where its files are gone and it is still in memory."""
    if any(name in worker["checkpoints"] for worker in workers):
        return name
    return _called(name, behind)


def _called(name: str, behind: Backstage) -> str:
    """What workers call a checkpoint that callers name."""
    settings = behind.service.settings
    return settings.checkpoint if name == own_name(settings) else check_checkpoint(name, settings.home)


def _order(checkpoint: str | None, workers: Workers) -> MemoryOrder:
    return MemoryOrder(checkpoint=checkpoint, workers=[worker["name"] for worker in workers])
