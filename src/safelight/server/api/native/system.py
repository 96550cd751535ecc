"""``/v1/system``: versions, machine, workers, queue and limits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter

from safelight import __version__
from safelight.runtime.machine import inspect_machine, package_version
from safelight.server.api.native.openapi_responses import error_responses, example_response
from safelight.server.api.native.schemas.system import LimitsView, MachineView, SystemView, WorkerView
from safelight.server.api.openapi_examples import SYSTEM
from safelight.server.core.app_state import AppState, CurrentAppState
from safelight.server.security.allowlist import public_name
from safelight.server.security.dependencies import CurrentPrincipal, Principal, Role

router = APIRouter(prefix="/v1", tags=["system"])
LIBRARIES = ("torch", "diffusers", "transformers", "timm", "onnxruntime", "openvino", "pillow")


@router.get(
    "/system",
    operation_id="get_system",
    summary="Get information about the server",
    responses=error_responses() | example_response(SYSTEM),
)
async def get_system(app_state: CurrentAppState, principal: CurrentPrincipal) -> SystemView:
    """Versions, the machine, workers, the queue and the limits; neither paths nor secrets."""
    return await asyncio.to_thread(_system, app_state, principal)


def _system(app_state: AppState, principal: Principal) -> SystemView:
    settings, service = app_state.service.settings, app_state.service
    return SystemView(
        version=__version__,
        versions={name: package_version(name) for name in LIBRARIES},
        machine=_machine(),
        classifier=settings.classifier.rpartition("/")[2],
        policy=settings.policy.rpartition("/")[2],
        workers=[_worker(worker, principal) for worker in service.workers()],
        jobs={state.value: number for state, number in service.store.count_by_state().items()},
        queue_paused=service.store.queue_state().paused,
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


def _worker(worker: Mapping[str, Any], principal: Principal) -> WorkerView:
    """A worker as users see it. Its last error may name files, and is for administrators only."""
    loading, report = worker["loading"], worker["memory_report"] or {}
    return WorkerView.model_validate(
        {
            **worker,
            "checkpoints": [public_name(name) for name in worker["checkpoints"]],
            "loading": None if loading is None else public_name(loading),
            "shortages": report.get("shortages", 0),
            "stages": report.get("stages", []),
            "devices": report.get("devices", []),
            "device_notes": report.get("notes", []),
            "last_error": worker["last_error"] if principal.role is Role.ADMIN else None,
        }
    )
