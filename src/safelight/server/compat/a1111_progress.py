"""Where a job stands, as A1111's and SD.Next's clients read it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from pydantic import BaseModel, Field

from safelight.jobs.job import Job, JobKind, JobState

FINAL = {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}
DRAWING = (JobKind.GENERATE, JobKind.UPSCALE)


@dataclass(frozen=True)
class Stand:
    """What a caller's jobs are doing.

    Args:
        current: The one that is told of: the oldest that runs, otherwise the next that waits; None without any.
        waiting: How many wait.
    """

    current: Job | None = None
    waiting: int = 0

    @classmethod
    def of(cls, jobs: Sequence[Job]) -> Self:
        """Of a caller's unfinished jobs."""
        drawing = sorted((job for job in jobs if job.kind in DRAWING), key=lambda job: job.id)
        running = [job for job in drawing if job.state is JobState.RUNNING]
        queued = [job for job in drawing if job.state is JobState.QUEUED]
        return cls(next(iter([*running, *queued]), None), len(queued))


class State(BaseModel):
    """A1111's state of its only job."""

    skipped: bool = False
    interrupted: bool = False
    stopping_generation: bool = False
    job: str = Field("", description="The job's id; empty for none.")
    job_count: int = Field(0, description="Its pictures, or the jobs that wait.")
    job_timestamp: str = Field("0", description="When it was submitted, UTC.")
    job_no: int = Field(0, description="Which of its pictures is being drawn, from 0.")
    sampling_step: int = 0
    sampling_steps: int = 0


class ProgressBody(BaseModel):
    """The answer of /sdapi/v1/progress."""

    id: str = Field("", description="SD.Next: the job's id.")
    progress: float = Field(0.0, description="0 to 1.")
    eta_relative: float = Field(0.0, description="Seconds; 0 where it is not known.")
    state: State = State()
    current_image: str | None = Field(None, description="Base64, PNG.")
    textinfo: str | None = None
    current_task: str | None = None


def progress_of(stand: Stand, task: str | None, image: str | None) -> ProgressBody:
    """Where a caller's job stands.

    Args:
        stand: Of the caller.
        task: What the caller called the job.
        image: Its preview.
    """
    job = stand.current
    if job is None:
        return ProgressBody()
    return ProgressBody(
        id=job.id,
        progress=fraction(job),
        eta_relative=seconds_left(job),
        state=state_of(stand),
        current_image=image,
        textinfo=words(job),
        current_task=task or job.id,
    )


def state_of(stand: Stand) -> State:
    """The state of a caller's job."""
    job = stand.current
    if job is None:
        return State()
    now = job.progress
    return State(
        job=job.id,
        job_count=now.pictures if now else max(1, stand.waiting),
        job_timestamp=f"{job.created:%Y%m%d%H%M%S}",
        job_no=now.picture if now else 0,
        sampling_step=now.step if now else 0,
        sampling_steps=now.steps if now else 0,
    )


def fraction(job: Job) -> float:
    """How much of a job is done, 0 to 1."""
    return 1.0 if job.state in FINAL else job.progress.fraction if job.progress else 0.0


def seconds_left(job: Job) -> float:
    """Seconds until it ends; 0 where they are not known."""
    return 0.0 if job.eta is None or not math.isfinite(job.eta) else round(job.eta, 2)


def words(job: Job) -> str | None:
    """What to tell somebody who waits."""
    if job.state is JobState.QUEUED:
        return f"Waiting, place {job.position} in the queue."
    return job.progress.stage if job.progress else None


class TaskQuestion(BaseModel):
    """What a client asks of its task."""

    id_task: str | None = Field(None, max_length=500, description="As in force_task_id, or a job's id.")
    id_live_preview: int = Field(-1, description="The preview that it has.")
    live_preview: bool = Field(True, description="Whether it wants a preview.")


class TaskBody(BaseModel):
    """The answer of /internal/progress: A1111's fields, and SD.Next's."""

    active: bool = False
    queued: bool = False
    completed: bool = False
    paused: bool = False
    progress: float | None = None
    eta: float | None = None
    live_preview: str | None = Field(None, description="A data URI, where there is a newer one.")
    id_live_preview: int | None = None
    textinfo: str | None = None
    job: str = ""
    step: int = 0
    steps: int = 0
    batch_no: int = 0
    batch_count: int = 0


def task_of(job: Job | None) -> TaskBody:
    """Where a task stands; one that is not known is neither active nor queued nor completed."""
    if job is None:
        return TaskBody(textinfo="There is no such task.")
    now = job.progress
    return TaskBody(
        active=job.state is JobState.RUNNING,
        queued=job.state is JobState.QUEUED,
        completed=job.state in FINAL,
        progress=fraction(job),
        eta=None if job.eta is None else seconds_left(job),
        textinfo=words(job),
        job=job.id,
        step=now.step if now else 0,
        steps=now.steps if now else 0,
        batch_no=now.picture if now else 0,
        batch_count=now.pictures if now else 0,
    )


class StatusBody(BaseModel):
    """The answer of SD.Next's /sdapi/v1/status, of the caller's own jobs."""

    status: str = Field(description="running, queued or idle.")
    task: str = ""
    timestamp: float = Field(description="Now, seconds since 1970.")
    current: str = Field("", description="What is being done.")
    id: str = ""
    job: str = ""
    jobs: int = Field(description="How many run or wait.")
    total: int = Field(description="Pictures of the current one.")
    step: int = 0
    steps: int = 0
    queued: int = 0
    uptime: float = Field(description="Seconds the server has run.")
    elapsed: float | None = None
    eta: float | None = None
    progress: float = 0.0


def status_of(stand: Stand, uptime: float, present: datetime) -> StatusBody:
    """What a caller's jobs are doing, in SD.Next's words.

    Args:
        stand: Of the caller.
        uptime: Seconds the server has run.
        present: The time by the clock that says when jobs were begun.
    """
    job, state = stand.current, state_of(stand)
    running = job is not None and job.state is JobState.RUNNING
    started = job.started if job else None
    return StatusBody(
        status="running" if running else "queued" if job else "idle",
        task=job.kind.value if job else "",
        timestamp=present.timestamp(),
        current=(words(job) or "") if job else "",
        id=state.job,
        job=state.job,
        jobs=stand.waiting + running,
        total=state.job_count,
        step=state.sampling_step,
        steps=state.sampling_steps,
        queued=stand.waiting,
        uptime=round(uptime, 3),
        elapsed=None if started is None else round((present - started).total_seconds(), 3),
        eta=None if job is None or job.eta is None else seconds_left(job),
        progress=fraction(job) if job else 0.0,
    )
