"""Progress of jobs, in the form that clients of A1111 and SD.Next read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from pydantic import BaseModel, Field

from safelight.jobs.job import Job, JobKind, JobState

FINAL_STATES = {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}
IMAGE_JOB_KINDS = (JobKind.GENERATE, JobKind.UPSCALE)


@dataclass(frozen=True)
class OwnerQueue:
    """The unfinished jobs of one owner.

    Args:
        current: The job to report the progress of: the oldest running one, else the next queued one; None for none.
        waiting: Number of queued jobs.
    """

    current: Job | None = None
    waiting: int = 0

    @classmethod
    def of(cls, jobs: Sequence[Job]) -> Self:
        """Summarize an owner's unfinished jobs."""
        drawing = sorted((job for job in jobs if job.kind in IMAGE_JOB_KINDS), key=lambda job: job.id)
        running = [job for job in drawing if job.state is JobState.RUNNING]
        queued = [job for job in drawing if job.state is JobState.QUEUED]
        return cls(next(iter([*running, *queued]), None), len(queued))


class ProgressState(BaseModel):
    """The state of the current job, in A1111's fields."""

    skipped: bool = False
    interrupted: bool = False
    stopping_generation: bool = False
    job: str = Field("", description="The job's id; empty for none.")
    job_count: int = Field(0, description="The number of its pictures, or of queued jobs.")
    job_timestamp: str = Field("0", description="When it was submitted, UTC.")
    job_no: int = Field(0, description="Index of the picture in progress, from 0.")
    sampling_step: int = 0
    sampling_steps: int = 0


class ProgressResponse(BaseModel):
    """The answer of /sdapi/v1/progress."""

    id: str = Field("", description="SD.Next: the job's id.")
    progress: float = Field(0.0, description="0 to 1.")
    eta_relative: float = Field(0.0, description="Seconds; 0 where unknown.")
    state: ProgressState = ProgressState()
    current_image: str | None = Field(None, description="Base64, PNG.")
    textinfo: str | None = None
    current_task: str | None = None


def progress_of(queue: OwnerQueue, task: str | None, image: str | None) -> ProgressResponse:
    """Report the progress of an owner's current job.

    Args:
        queue: The owner's jobs.
        task: The client's name of the job.
        image: The preview, base64.
    """
    job = queue.current
    if job is None:
        return ProgressResponse()
    return ProgressResponse(
        id=job.id,
        progress=progress_fraction(job),
        eta_relative=seconds_left(job),
        state=state_of(queue),
        current_image=image,
        textinfo=status_text(job),
        current_task=task or job.id,
    )


def state_of(queue: OwnerQueue) -> ProgressState:
    """The state of an owner's current job."""
    job = queue.current
    if job is None:
        return ProgressState()
    now = job.progress
    return ProgressState(
        job=job.id,
        job_count=now.pictures if now else max(1, queue.waiting),
        job_timestamp=f"{job.created:%Y%m%d%H%M%S}",
        job_no=now.picture if now else 0,
        sampling_step=now.step if now else 0,
        sampling_steps=now.steps if now else 0,
    )


def progress_fraction(job: Job) -> float:
    """The finished fraction of a job, 0 to 1."""
    return 1.0 if job.state in FINAL_STATES else job.progress.fraction if job.progress else 0.0


def seconds_left(job: Job) -> float:
    """Seconds until the job ends; 0 where they are unknown."""
    return 0.0 if job.eta is None or not math.isfinite(job.eta) else round(job.eta, 2)


def status_text(job: Job) -> str | None:
    """A line about the job's status for its user."""
    if job.state is JobState.QUEUED:
        return f"Waiting, place {job.position} in the queue."
    return job.progress.stage if job.progress else None


class TaskProgressBody(BaseModel):
    """A client's query for the progress of its task."""

    id_task: str | None = Field(None, max_length=500, description="As in force_task_id, or a job's id.")
    id_live_preview: int = Field(-1, description="Id of the preview that the client has.")
    live_preview: bool = Field(True, description="Whether to return a preview.")


class TaskProgressResponse(BaseModel):
    """The answer of /internal/progress, in the fields of A1111 and SD.Next."""

    active: bool = False
    queued: bool = False
    completed: bool = False
    paused: bool = False
    progress: float | None = None
    eta: float | None = None
    live_preview: str | None = Field(
        None, description="The preview as a data URI, where there is a newer one."
    )
    id_live_preview: int | None = None
    textinfo: str | None = None
    job: str = ""
    step: int = 0
    steps: int = 0
    batch_no: int = 0
    batch_count: int = 0


def task_of(job: Job | None) -> TaskProgressResponse:
    """The progress of a task; an unknown task is neither active nor queued nor completed."""
    if job is None:
        return TaskProgressResponse(textinfo="There is no such task.")
    now = job.progress
    return TaskProgressResponse(
        active=job.state is JobState.RUNNING,
        queued=job.state is JobState.QUEUED,
        completed=job.state in FINAL_STATES,
        progress=progress_fraction(job),
        eta=None if job.eta is None else seconds_left(job),
        textinfo=status_text(job),
        job=job.id,
        step=now.step if now else 0,
        steps=now.steps if now else 0,
        batch_no=now.picture if now else 0,
        batch_count=now.pictures if now else 0,
    )


class StatusResponse(BaseModel):
    """The answer of SD.Next's /sdapi/v1/status, about the user's own jobs."""

    status: str = Field(description="running, queued or idle.")
    task: str = ""
    timestamp: float = Field(description="The current time, seconds since 1970.")
    current: str = Field("", description="The current stage.")
    id: str = ""
    job: str = ""
    jobs: int = Field(description="Number of running and queued jobs.")
    total: int = Field(description="Pictures of the current job.")
    step: int = 0
    steps: int = 0
    queued: int = 0
    uptime: float = Field(description="Seconds the server has run.")
    elapsed: float | None = None
    eta: float | None = None
    progress: float = 0.0


def status_of(queue: OwnerQueue, uptime: float, present: datetime) -> StatusResponse:
    """The status of an owner's jobs, in SD.Next's fields.

    Args:
        queue: Of the owner.
        uptime: Seconds the server has run.
        present: The time by the clock that set the jobs' start times.
    """
    job, state = queue.current, state_of(queue)
    running = job is not None and job.state is JobState.RUNNING
    started = job.started if job else None
    return StatusResponse(
        status="running" if running else "queued" if job else "idle",
        task=job.kind if job else "",
        timestamp=present.timestamp(),
        current=(status_text(job) or "") if job else "",
        id=state.job,
        job=state.job,
        jobs=queue.waiting + running,
        total=state.job_count,
        step=state.sampling_step,
        steps=state.sampling_steps,
        queued=queue.waiting,
        uptime=round(uptime, 3),
        elapsed=None if started is None else round((present - started).total_seconds(), 3),
        eta=None if job is None or job.eta is None else seconds_left(job),
        progress=progress_fraction(job) if job else 0.0,
    )
