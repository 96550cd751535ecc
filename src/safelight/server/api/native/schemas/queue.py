"""Schemas of the queue as a whole, and of operations on several jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from safelight.generation.request import RequestPart
from safelight.jobs.job import JobState
from safelight.server.api.native.schemas.base import ResponseModel

MAX_IDS = 1000
"""How many jobs one request may name."""
JobIdText = Annotated[str, StringConstraints(pattern="^[0-9a-f]{27}$")]
JobIds = Annotated[list[JobIdText], Field(min_length=1, max_length=MAX_IDS, description="Ids of jobs.")]


class QueuePlace(ResponseModel):
    """An unfinished job."""

    id: str
    state: JobState = Field(description="queued or running.")
    position: int | None = Field(description="Place in the queue, from 1; null while the job runs.")
    eta: float | None = Field(description="Seconds until it ends, if known; not while the queue is paused.")


class QueueView(ResponseModel):
    """The queue."""

    paused: bool = Field(description="Whether no further job starts; running ones continue.")
    paused_since: datetime | None
    paused_by: str | None = Field(description="Who paused it; shown to administrators.")
    queued: int = Field(description="How many jobs wait, of all users.")
    running: int = Field(description="How many jobs run, of all users.")
    jobs: list[QueuePlace] = Field(
        description="The user's running jobs, then the queued ones in order, 1,000 at most; administrators see all."
    )


class MoveBody(RequestPart):
    """Where a job is moved to."""

    before: JobIdText | None = Field(
        description="The queued job that is to follow it; null: behind all of the same owner and priority."
    )


class CancelBody(RequestPart):
    """Which jobs are cancelled: some, or all of the user's own queued ones."""

    ids: JobIds | None = None
    state: Literal["queued"] | None = Field(None, description="All of the user's own that wait.")

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.ids is None) == (self.state is None):
            raise ValueError("give either ids or state")
        return self


class CancelOutcome(ResponseModel):
    """What happened to one job."""

    id: str
    outcome: Literal["cancelled", "stopping", "ended", "missing"] = Field(
        description="cancelled: it was queued; stopping: it runs and stops after its step; ended: it had ended "
        "already; missing: the user has no such job."
    )


class CancelOutcomes(ResponseModel):
    """What happened to each job."""

    jobs: list[CancelOutcome]


class ClearBody(RequestPart):
    """Which ended jobs are cleared."""

    ids: JobIds | None = Field(
        None, description="Only these; all of the user's own that have ended when not given."
    )


class ClearedJobs(ResponseModel):
    """How many jobs were cleared."""

    cleared: int
