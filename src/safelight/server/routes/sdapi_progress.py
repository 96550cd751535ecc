"""Progress, interrupt and skip under A1111's paths: of the caller's own jobs only."""

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

from safelight.errors import JobMissingError, JobOverError, JobSkipError
from safelight.jobs.job import Job, JobState, Signal
from safelight.server.auth import Caller, Who
from safelight.server.compat.a1111_progress import (
    ProgressBody,
    Stand,
    StatusBody,
    TaskBody,
    TaskQuestion,
    progress_of,
    status_of,
    task_of,
)
from safelight.server.compat.callers import Callers, Remembered
from safelight.server.compat.previews import TheJudge, preview_of
from safelight.server.state import Backstage, Behind
from safelight.server.submitting import tell

router = APIRouter(tags=["A1111"])

MOST_JOBS = 200
"""How many of a caller's unfinished jobs are looked at."""
Task = Annotated[str | None, Query(max_length=500, description="As in force_task_id, or a job's id.")]


class PendingTasks(BaseModel):
    """The tasks that run or wait."""

    size: int
    tasks: list[str]


@router.get("/sdapi/v1/progress", operation_id="a1111_progress", summary="See where your job stands")
async def progress(
    behind: Behind,
    who: Who,
    kept: Remembered,
    judging: TheJudge,
    skip_current_image: bool = False,
    id_task: Task = None,
) -> ProgressBody:
    """The oldest of the caller's running jobs, or the one that is named; other callers' never show."""
    stand = await _stand(behind, who, kept, id_task)
    job, image = stand.current, None
    if job is None:
        return ProgressBody()
    if not skip_current_image and (data := await preview_of(behind, judging, job.id)):
        image = base64.b64encode(data).decode("ascii")
    return progress_of(stand, id_task or kept.task_of(who.owner, job.id), image)


@router.post("/internal/progress", operation_id="a1111_task_progress", summary="See where a task stands")
async def task_progress(
    question: TaskQuestion, behind: Behind, who: Who, kept: Remembered, judging: TheJudge
) -> TaskBody:
    """One task of the caller's, by the name it was given with force_task_id."""
    if question.id_task is None:
        job = (await _stand(behind, who, kept, None)).current
    else:
        job = await _named(behind, who, kept, question.id_task)
    body = task_of(job)
    if job is None or not body.active or not question.live_preview:
        return body
    data = await preview_of(behind, judging, job.id)
    number = None if data is None else zlib.crc32(data)
    if data is None or number == question.id_live_preview:
        return body
    uri = f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"
    return body.model_copy(update={"live_preview": uri, "id_live_preview": number})


@router.get(
    "/internal/pending-tasks", operation_id="a1111_pending_tasks", summary="List your unfinished tasks"
)
async def pending_tasks(behind: Behind, who: Who, kept: Remembered) -> PendingTasks:
    """The caller's jobs that run or wait, by their task's name or their id."""
    jobs = await _unfinished(behind, who)
    tasks = [kept.task_of(who.owner, job.id) or job.id for job in jobs]
    return PendingTasks(size=len(tasks), tasks=tasks)


@router.get("/internal/ping", operation_id="a1111_ping", summary="See whether the server answers")
async def ping() -> dict[str, str]:
    """Nothing, at once."""
    return {}


@router.post("/sdapi/v1/interrupt", operation_id="a1111_interrupt", summary="Stop your running jobs")
async def interrupt(behind: Behind, who: Who, kept: Remembered, id_task: Task = None) -> dict[str, str]:
    """Stop the caller's running jobs, or the one that is named; what is drawn so far is their result."""
    await _tell(behind, who, kept, id_task, Signal.FINISH)
    return {}


@router.post("/sdapi/v1/skip", operation_id="a1111_skip", summary="Leave the pictures on their way")
async def skip(behind: Behind, who: Who, kept: Remembered, id_task: Task = None) -> dict[str, str]:
    """Leave the picture on its way, in the caller's running jobs or the one that is named, and go on with the next."""
    await _tell(behind, who, kept, id_task, Signal.SKIP)
    return {}


@router.get("/sdapi/v1/status", operation_id="sdnext_status", summary="See what your jobs are doing")
async def status(behind: Behind, who: Who) -> StatusBody:
    """The caller's jobs in SD.Next's words."""
    jobs = await _unfinished(behind, who)
    present = await asyncio.to_thread(behind.service.now)
    return status_of(Stand.of(jobs), time.time() - psutil.Process().create_time(), present)


async def _tell(behind: Backstage, who: Caller, kept: Callers, task: str | None, signal: Signal) -> None:
    """Signal running jobs. One that has ended meanwhile needs no telling, and one without pictures skips none."""
    if task is None:
        jobs = await _unfinished(behind, who, JobState.RUNNING)
    else:
        job = await _named(behind, who, kept, task)
        jobs = [job] if job else []
    for job in jobs:
        with suppress(JobOverError, JobSkipError):
            await tell(behind, job.id, signal, who.owner)


async def _stand(behind: Backstage, who: Caller, kept: Callers, task: str | None) -> Stand:
    """What the named task, or the caller's oldest running job, is doing; the queue is asked only if nothing runs."""
    if task is not None:
        job = await _named(behind, who, kept, task)
        return Stand.of([job] if job else [])
    running = await _unfinished(behind, who, JobState.RUNNING)
    return Stand.of(running or await _unfinished(behind, who, JobState.QUEUED))


async def _named(behind: Backstage, who: Caller, kept: Callers, task: str) -> Job | None:
    """A caller's job by its task's name or its id."""
    job_id = kept.job_of(who.owner, task) or task
    with suppress(JobMissingError):
        return await asyncio.to_thread(behind.service.ledger.get, job_id, who.owner)
    return None


async def _unfinished(behind: Backstage, who: Caller, *states: JobState) -> list[Job]:
    """The caller's own jobs that run or wait, administrators' too: nobody stops others' by accident."""
    wanted = states or (JobState.RUNNING, JobState.QUEUED)
    return await asyncio.to_thread(behind.service.ledger.find, who.owner, states=wanted, limit=MOST_JOBS)
