"""``/v1/system/memory``, ``/v1/system/plan`` and ``/v1/system/log``: memory use and plans, log lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Query, Request

from safelight.errors import (
    CheckpointInvalidError,
    CheckpointMissingError,
    MemoryBudgetError,
    NotAChoiceError,
    RequestError,
    RoleRequiredError,
    WorkerMissingError,
)
from safelight.generation.memory_steps import OtherDevice
from safelight.generation.request import Side
from safelight.models.checkpoints.discovery import Checkpoint, find_checkpoint
from safelight.models.hub.checkpoint_download import hub_lookup
from safelight.runtime.devices.memory import DeviceMemory
from safelight.server.api.native.openapi_responses import error_responses, example_response
from safelight.server.api.native.schemas.system import (
    LogLine,
    LogLines,
    MemoryHistory,
    MemoryPlanView,
    MemorySample,
)
from safelight.server.api.openapi_examples import LOG, MEMORY, PLAN
from safelight.server.core.app_state import AppState, CurrentAppState
from safelight.server.core.monitoring.log_buffer import MAX_LINES, LogBuffer
from safelight.server.core.monitoring.memory_history import MemorySampler
from safelight.server.core.monitoring.memory_plans import MemoryPlans
from safelight.server.security.allowlist import check_checkpoint, default_checkpoint_name, public_name
from safelight.server.security.dependencies import CurrentAdmin
from safelight.settings import Settings


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
    """Keep the log buffer, the memory history and what was counted for plans for as long as the server runs."""
    ring = LogBuffer()
    with ring.attached():
        async with MemorySampler(lambda: app.state.safelight.service) as watch:
            plans = MemoryPlans(app.state.safelight.service.settings)
            yield {"log_buffer": ring, "memory_sampler": watch, "memory_plans": plans}


router = APIRouter(prefix="/v1/system", tags=["system"], lifespan=lifespan)


@router.get(
    "/memory",
    operation_id="get_memory",
    summary="Get the memory use of the last hour",
    responses=error_responses() | example_response(MEMORY),
)
async def get_memory(request: Request) -> MemoryHistory:
    """The memory of the server and of each worker, sampled every ten seconds since the server started."""
    watch: MemorySampler = request.state.memory_sampler
    samples = [MemorySample.model_validate(sample) for sample in watch.samples]
    return MemoryHistory(every=watch.every, samples=samples)


@router.get(
    "/plan",
    operation_id="get_memory_plan",
    summary="Plan the memory of a picture",
    responses=error_responses(
        CheckpointMissingError, CheckpointInvalidError, MemoryBudgetError, RequestError, WorkerMissingError
    )
    | example_response(PLAN),
)
async def get_memory_plan(
    request: Request,
    app_state: CurrentAppState,
    checkpoint: Annotated[
        str | None, Query(max_length=300, description="A checkpoint; the default one when not given.")
    ] = None,
    width: Annotated[
        Side | None, Query(description="Pixels; the checkpoint's default when not given.")
    ] = None,
    height: Annotated[
        Side | None, Query(description="Pixels; the checkpoint's default when not given.")
    ] = None,
    worker: Annotated[
        str | None,
        Query(max_length=200, description="For this worker's device; the first one's when not given."),
    ] = None,
) -> MemoryPlanView:
    """What a picture takes of a worker's memory, and what is done to make it fit. Nothing is loaded.

    The first plan for a checkpoint in a size takes some seconds.
    """
    plans: MemoryPlans = request.state.memory_plans
    settings = app_state.service.settings
    if (width or 0) * (height or 0) > settings.max_pixels:
        raise MemoryBudgetError(f"{width} x {height} is more than {settings.max_pixels} pixels.")
    name, device, others = await asyncio.to_thread(_planned_devices, app_state, worker)
    found = await asyncio.to_thread(_find_checkpoint, checkpoint, settings)
    size, plan = await plans.plan(found, (width, height), device, others)
    return MemoryPlanView(
        checkpoint=public_name(found.name),
        family=found.family.name,
        width=size[0],
        height=size[1],
        worker=name,
        device=device.kind,
        **plan.to_dict(),
    )


def _planned_devices(app_state: AppState, name: str | None) -> tuple[str, DeviceMemory, list[OtherDevice]]:
    """A worker's name, its denoiser's device, and other devices with what is on them, as it last reported them."""
    reports = {
        worker["name"]: worker["memory_report"]
        for worker in app_state.service.workers()
        if worker["memory_report"]
    }
    if not reports:
        raise WorkerMissingError
    if name is not None and name not in reports:
        raise NotAChoiceError(
            f"There is no worker {name!r}.", field="worker", context={"choices": sorted(reports)}
        )
    found = next(iter(reports)) if name is None else name
    report = reports[found]
    others = [
        OtherDevice(DeviceMemory(**other["memory"]), tuple(other["groups"]))
        for other in report.get("others", ())
    ]
    return found, DeviceMemory(**report["device"]), others


def _find_checkpoint(name: str | None, settings: Settings) -> Checkpoint:
    default = name in (None, default_checkpoint_name(settings))
    return find_checkpoint(
        settings.checkpoint if default else check_checkpoint(str(name), settings),
        settings.home,
        folders=settings.current_model_folders,
        hub_lookup=hub_lookup() if default else None,
        allow_paths=default,
    )


@router.get(
    "/log",
    operation_id="get_log",
    summary="Read the log",
    responses=error_responses(RoleRequiredError) | example_response(LOG),
)
async def get_log(
    request: Request,
    _: CurrentAdmin,
    limit: Annotated[int, Query(ge=1, le=MAX_LINES, description="The number of lines.")] = 200,
    level: Annotated[
        Literal["info", "warning", "error"], Query(description="Only lines of this level and above.")
    ] = "info",
) -> LogLines:
    """The newest lines of the server's own log, for administrators. Workers log to stderr only.

    Requests for the log are left out, and long texts are truncated.
    """
    ring: LogBuffer = request.state.log_buffer
    return LogLines(lines=[LogLine.model_validate(line) for line in ring.lines(limit, level)])
