"""``/health``: liveness and readiness; ``/metrics``: metrics for Prometheus."""

from __future__ import annotations

import asyncio
from typing import Literal

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel, Field

from safelight.errors import DatabaseError
from safelight.jobs.queue_service import QueueService
from safelight.server.core.app_state import AppState
from safelight.server.core.monitoring.metrics import Metrics
from safelight.server.security.dependencies import CurrentAdmin

router = APIRouter(tags=["health"])


class Liveness(BaseModel):
    """The server is there."""

    status: Literal["live"] = "live"


class Readiness(BaseModel):
    """Whether the server can do work."""

    status: Literal["ready", "not ready"]
    missing: list[str] = Field(
        description="The missing parts; empty when the server is ready.", examples=[["worker"]]
    )


LIVE = Liveness()


@router.get("/health/live", operation_id="get_live", summary="Is the server there?")
async def live() -> Liveness:
    """Answers at once, whatever else is going on."""
    return LIVE


@router.get(
    "/health/ready",
    operation_id="get_ready",
    summary="Can the server do work?",
    responses={503: {"model": Readiness, "description": "Something is missing."}},
)
async def ready(request: Request, response: Response) -> Readiness:
    """Whether the database answers and a worker lives."""
    app_state: AppState | None = getattr(request.app.state, "safelight", None)
    missing = ["server"] if app_state is None else await asyncio.to_thread(missing_parts, app_state.service)
    if missing:
        response.status_code = 503
        response.headers["Retry-After"] = "2"
    return Readiness(status="not ready" if missing else "ready", missing=missing)


def missing_parts(service: QueueService) -> list[str]:
    """The parts that jobs need and that are missing."""
    try:
        return [] if service.workers() else ["worker"]
    except DatabaseError:
        return ["database"]


@router.get(
    "/metrics",
    operation_id="get_metrics",
    summary="Numbers for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request, _: CurrentAdmin) -> Response:
    """Requests, latency, jobs, workers, pictures and memory; for administrators."""
    numbers: Metrics = request.app.state.metrics
    return Response(await asyncio.to_thread(numbers.render), media_type=CONTENT_TYPE_PLAIN_0_0_4)
