"""``/health``: liveness and readiness; ``/metrics``: metrics for Prometheus."""

from __future__ import annotations

import asyncio
from typing import Literal

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel, Field

from safelight.errors import DatabaseError
from safelight.jobs.service import Service
from safelight.server.auth import Admin
from safelight.server.metrics import Metrics

router = APIRouter(tags=["health"])


class Live(BaseModel):
    """The server is there."""

    status: Literal["live"] = "live"


class Ready(BaseModel):
    """Whether the server can do work."""

    status: Literal["ready", "not ready"]
    missing: list[str] = Field(
        description="The missing parts; empty when the server is ready.", examples=[["worker"]]
    )


LIVE = Live()


@router.get("/health/live", operation_id="get_live", summary="Is the server there?")
async def live() -> Live:
    """Answers at once, whatever else is going on."""
    return LIVE


@router.get(
    "/health/ready",
    operation_id="get_ready",
    summary="Can the server do work?",
    responses={503: {"model": Ready, "description": "Something is missing."}},
)
async def ready(request: Request, response: Response) -> Ready:
    """Whether the database answers and a worker lives."""
    behind = getattr(request.app.state, "backstage", None)
    missing = ["server"] if behind is None else await asyncio.to_thread(lacking, behind.service)
    if missing:
        response.status_code = 503
        response.headers["Retry-After"] = "2"
    return Ready(status="not ready" if missing else "ready", missing=missing)


def lacking(service: Service) -> list[str]:
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
async def metrics(request: Request, _: Admin) -> Response:
    """Requests, latency, jobs, workers, pictures and memory; for administrators."""
    numbers: Metrics = request.app.state.metrics
    return Response(await asyncio.to_thread(numbers.render), media_type=CONTENT_TYPE_PLAIN_0_0_4)
