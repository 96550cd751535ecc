"""``/v1/system``: versions, machine, workers, queue and limits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter

from safelight import __version__
from safelight.runtime.machine import inspect_machine, package_version
from safelight.server.auth import Caller, Role, Who
from safelight.server.names import without_folder
from safelight.server.routes.describing import errors, shown
from safelight.server.routes.examples import SYSTEM
from safelight.server.schemas.system import LimitsView, MachineView, SystemView, WorkerView
from safelight.server.state import Backstage, Behind

router = APIRouter(prefix="/v1", tags=["system"])
LIBRARIES = ("torch", "diffusers", "transformers", "timm", "onnxruntime", "openvino", "pillow")


@router.get(
    "/system",
    operation_id="get_system",
    summary="Get information about the server",
    responses=errors() | shown(SYSTEM),
)
async def get_system(behind: Behind, who: Who) -> SystemView:
    """Versions, the machine, workers, the queue and the limits; neither paths nor secrets."""
    return await asyncio.to_thread(_system, behind, who)


def _system(behind: Backstage, who: Caller) -> SystemView:
    settings, service = behind.service.settings, behind.service
    return SystemView(
        version=__version__,
        versions={name: package_version(name) for name in LIBRARIES},
        machine=_machine(),
        classifier=settings.classifier.rpartition("/")[2],
        policy=settings.policy.rpartition("/")[2],
        workers=[_worker(worker, who) for worker in service.workers()],
        jobs={state.value: number for state, number in service.ledger.counts().items()},
        limits=LimitsView.model_validate(settings),
    )


def _machine() -> MachineView:
    found = inspect_machine()
    return MachineView(
        processor=found.processor,
        cores=found.cores,
        memory=found.memory,
        features=list(found.vector_units),
    )


def _worker(worker: Mapping[str, Any], who: Caller) -> WorkerView:
    """A worker as users see it. Its last error may name files, and is for administrators only."""
    loading = worker["loading"]
    return WorkerView.model_validate(
        {
            **worker,
            "checkpoints": [without_folder(name) for name in worker["checkpoints"]],
            "loading": None if loading is None else without_folder(loading),
            "last_error": worker["last_error"] if who.role is Role.ADMIN else None,
        }
    )
