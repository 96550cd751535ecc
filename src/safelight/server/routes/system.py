"""``/v1/system``: what runs here, and how it is."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from safelight import __version__
from safelight.runtime.machine import package_version
from safelight.server.routes.describing import errors, shown
from safelight.server.routes.examples import SYSTEM
from safelight.server.schemas.system import LimitsView, SystemView, WorkerView
from safelight.server.state import Backstage, Behind

router = APIRouter(prefix="/v1", tags=["system"])
LIBRARIES = ("torch", "diffusers", "transformers", "timm", "onnxruntime", "openvino", "pillow")


@router.get(
    "/system", operation_id="get_system", summary="Look at the server", responses=errors() | shown(SYSTEM)
)
async def get_system(behind: Behind) -> SystemView:
    """Versions, workers, the queue and the limits; neither paths nor secrets."""
    return await asyncio.to_thread(_system, behind)


def _system(behind: Backstage) -> SystemView:
    settings, service = behind.service.settings, behind.service
    return SystemView(
        version=__version__,
        versions={name: package_version(name) for name in LIBRARIES},
        classifier=settings.classifier.rpartition("/")[2],
        policy=settings.policy.rpartition("/")[2],
        workers=[WorkerView.model_validate(worker) for worker in service.workers()],
        jobs={state.value: number for state, number in service.ledger.counts().items()},
        limits=LimitsView.model_validate(settings),
    )
