"""Progress, interrupt and skip under A1111's paths: for the user's own jobs only."""

from __future__ import annotations

import asyncio
import base64
import time
import zlib
from contextlib import suppress
from typing import Annotated

import psutil
from fastapi import APIRouter, Query
from pydantic import BaseModel

from safelight.errors import JobEndedError, JobMissingError, JobNotSkippableError
from safelight.jobs.job import Job, JobState, Signal
from safelight.server.api.a1111.client_state import ClientState, CurrentClientState
from safelight.server.api.a1111.progress import (
    OwnerQueue,
    ProgressResponse,
    StatusResponse,
    TaskProgressBody,
    TaskProgressResponse,
    progress_of,
    status_of,
    task_of,
)
from safelight.server.core.app_state import AppState, CurrentAppState
from safelight.server.core.events.previews import CurrentModerationService, load_preview
from safelight.server.core.submission import send_signal
from safelight.server.security.dependencies import CurrentPrincipal, Principal

router = APIRouter(tags=["A1111"])

MAX_JOBS = 200
"""The most unfinished jobs of an owner that are read."""
TaskQuery = Annotated[str | None, Query(max_length=500, description="As in force_task_id, or a job's id.")]


class PendingTasks(BaseModel):
    """The running and queued tasks."""

    size: int
    tasks: list[str]


@router.get("/sdapi/v1/progress", operation_id="a1111_progress", summary="Get the progress of your job")
async def progress(
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    client_state: CurrentClientState,
    moderation_service: CurrentModerationService,
    skip_current_image: bool = False,
    id_task: TaskQuery = None,
) -> ProgressResponse:
    """The progress of the user's oldest running job, or of a named one; other users' jobs are never shown."""
    stand = await _owner_queue(app_state, principal, client_state, id_task)
    job, image = stand.current, None
    if job is None:
        return ProgressResponse()
    if not skip_current_image and (data := await load_preview(app_state, moderation_service, job.id)):
        image = base64.b64encode(data).decode("ascii")
    return progress_of(stand, id_task or client_state.task_of(principal.owner, job.id), image)


@router.post("/internal/progress", operation_id="a1111_task_progress", summary="Get the progress of a task")
async def task_progress(
    request: TaskProgressBody,
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    client_state: CurrentClientState,
    moderation_service: CurrentModerationService,
) -> TaskProgressResponse:
    """The progress of one task of the user's, by the name it was given with force_task_id."""
    if request.id_task is None:
        job = (await _owner_queue(app_state, principal, client_state, None)).current
    else:
        job = await _find_task(app_state, principal, client_state, request.id_task)
    body = task_of(job)
    if job is None or not body.active or not request.live_preview:
        return body
    data = await load_preview(app_state, moderation_service, job.id)
    number = None if data is None else zlib.crc32(data)
    if data is None or number == request.id_live_preview:
        return body
    uri = f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"
    return body.model_copy(update={"live_preview": uri, "id_live_preview": number})


@router.get(
    "/internal/pending-tasks", operation_id="a1111_pending_tasks", summary="List your unfinished tasks"
)
async def pending_tasks(
    app_state: CurrentAppState, principal: CurrentPrincipal, client_state: CurrentClientState
) -> PendingTasks:
    """The user's running and queued jobs, by their task names or their ids."""
    jobs = await _unfinished(app_state, principal)
    tasks = [client_state.task_of(principal.owner, job.id) or job.id for job in jobs]
    return PendingTasks(size=len(tasks), tasks=tasks)


@router.get("/internal/ping", operation_id="a1111_ping", summary="Check that the server responds")
async def ping() -> dict[str, str]:
    """An empty answer, at once."""
    return {}


@router.post("/sdapi/v1/interrupt", operation_id="a1111_interrupt", summary="Stop your running jobs")
async def interrupt(
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    client_state: CurrentClientState,
    id_task: TaskQuery = None,
) -> dict[str, str]:
    """Stop the user's running jobs, or the named one; the pictures made so far are the result."""
    await _send_signal(app_state, principal, client_state, id_task, Signal.FINISH)
    return {}


@router.post("/sdapi/v1/skip", operation_id="a1111_skip", summary="Skip the pictures in progress")
async def skip(
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    client_state: CurrentClientState,
    id_task: TaskQuery = None,
) -> dict[str, str]:
    """Discard the picture in progress, of the user's running jobs or the named one, and continue with the next."""
    await _send_signal(app_state, principal, client_state, id_task, Signal.SKIP)
    return {}


@router.get("/sdapi/v1/status", operation_id="sdnext_status", summary="Get the status of your jobs")
async def status(app_state: CurrentAppState, principal: CurrentPrincipal) -> StatusResponse:
    """The user's jobs in SD.Next's fields."""
    jobs = await _unfinished(app_state, principal)
    present = await asyncio.to_thread(app_state.service.now)
    return status_of(OwnerQueue.of(jobs), time.time() - psutil.Process().create_time(), present)


async def _send_signal(
    app_state: AppState, principal: Principal, client_state: ClientState, task: str | None, signal: Signal
) -> None:
    """Signal running jobs. Jobs that have ended meanwhile are ignored, and so are jobs without pictures to skip."""
    if task is None:
        jobs = await _unfinished(app_state, principal, JobState.RUNNING)
    else:
        job = await _find_task(app_state, principal, client_state, task)
        jobs = [job] if job else []
    for job in jobs:
        with suppress(JobEndedError, JobNotSkippableError):
            await send_signal(app_state, job.id, signal, principal.owner)


async def _owner_queue(
    app_state: AppState, principal: Principal, client_state: ClientState, task: str | None
) -> OwnerQueue:
    """The named task, or the owner's running jobs; queued jobs are only queried where none runs."""
    if task is not None:
        job = await _find_task(app_state, principal, client_state, task)
        return OwnerQueue.of([job] if job else [])
    running = await _unfinished(app_state, principal, JobState.RUNNING)
    return OwnerQueue.of(running or await _unfinished(app_state, principal, JobState.QUEUED))


async def _find_task(
    app_state: AppState, principal: Principal, client_state: ClientState, task: str
) -> Job | None:
    """An owner's job by its task name or its id."""
    job_id = client_state.job_of(principal.owner, task) or task
    with suppress(JobMissingError):
        return await asyncio.to_thread(app_state.service.store.get, job_id, principal.owner)
    return None


async def _unfinished(app_state: AppState, principal: Principal, *states: JobState) -> list[Job]:
    """The owner's own running and queued jobs, for administrators too: nobody stops others' jobs by accident."""
    wanted = states or (JobState.RUNNING, JobState.QUEUED)
    return await asyncio.to_thread(
        app_state.service.store.find, principal.owner, states=wanted, limit=MAX_JOBS
    )
