"""``/v1/system/memory`` and ``/v1/system/log``: recent memory use and log lines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Query, Request

from safelight.errors import RoleRequiredError
from safelight.server.api.native.openapi_responses import error_responses, example_response
from safelight.server.api.native.schemas.system import LogLine, LogLines, MemoryHistory, MemorySample
from safelight.server.api.openapi_examples import LOG, MEMORY
from safelight.server.core.monitoring.log_buffer import MAX_LINES, LogBuffer
from safelight.server.core.monitoring.memory_history import MemorySampler
from safelight.server.security.dependencies import CurrentAdmin


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
    """Keep the log buffer and the memory history for as long as the server runs."""
    ring = LogBuffer()
    with ring.attached():
        async with MemorySampler(lambda: app.state.safelight.service) as watch:
            yield {"log_buffer": ring, "memory_sampler": watch}


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
