"""Jobs, their progress and their events, in the form that all front ends show."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

JsonObject = dict[str, JsonValue]
MAX_PRIORITY = 100
Priority = Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)]
Timeout = Annotated[float, Field(gt=0, le=7 * 86400, allow_inf_nan=False)]


class JobKind(StrEnum):
    """The job kinds that are built in; plug-ins register more (``jobs.task``)."""

    GENERATE = "generate"
    UPSCALE = "upscale"
    PREPROCESS = "preprocess"
    SCAN = "scan"


class JobState(StrEnum):
    """The state of a job; the last three states are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the job has ended."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


class Signal(StrEnum):
    """A request to a running job, which the job checks after every step."""

    CANCEL = "cancel"
    """Stop and keep the finished pictures; the job ends as cancelled."""
    FINISH = "finish"
    """Stop and keep the current picture as it is; the job ends as succeeded."""
    SKIP = "skip"
    """Drop the current picture and continue with the next one."""

    def overrides(self, other: str | None) -> bool:
        """Whether this signal replaces an earlier one: CANCEL outranks FINISH, and FINISH outranks SKIP."""
        ranking = (None, Signal.SKIP, Signal.FINISH, Signal.CANCEL)
        return ranking.index(self) > ranking.index(None if other is None else Signal(other))


class FrozenModel(BaseModel):
    """A frozen model that rejects unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class JobStage(StrEnum):
    """Stages of a job in addition to those of generation (``generation.progress.Stage``)."""

    JUDGING = "judging"
    PAUSED = "paused"
    """The job waits while jobs of other owners run."""
    WAITING_FOR_DISK = "waiting for disk space"
    WAITING_FOR_DATABASE = "waiting for the database"


PAUSED = JobStage.PAUSED


class Progress(FrozenModel):
    """The progress of a running job."""

    stage: str = Field(
        description="loading, first pass, refiner, upscaling, second pass, judging …; paused while jobs of other "
        "owners run."
    )
    step: int = Field(0, ge=0, description="Steps done of this stage.")
    steps: int = Field(0, ge=0, description="Steps of this stage.")
    picture: int = Field(0, ge=0, description="Index of the current picture or file, from 0.")
    pictures: int = Field(1, ge=0, description="How many there are.")
    fraction: float = Field(0.0, ge=0, le=1, description="Completed fraction of the whole job, 0 to 1.")
    seconds: float = Field(0.0, ge=0, description="How long it has run, without pauses and earlier attempts.")


class Failure(FrozenModel):
    """Why a job failed: one of the errors in the catalogue."""

    code: str
    message: str
    hint: str = ""
    field: str = Field(
        "", description="The request's field that is wrong, with dots; empty if it is about none."
    )
    context: JsonObject = Field(
        {}, description="Values for a message of one's own, such as the field's range."
    )


class Job(FrozenModel):
    """One job in the queue."""

    id: str
    owner: str = Field(description="Owner of the key it was submitted with; local without keys.")
    kind: str = Field(description="generate, upscale, preprocess, scan, or one of a plug-in.")
    state: JobState
    request: JsonObject = Field(description="The request, with every picture as {blob: SHA-256}.")
    priority: Priority = 0
    timeout: Timeout | None = Field(
        None, description="Seconds it may run, pauses not counted; then it fails."
    )
    idempotency_key: str | None = None
    request_id: str = Field("", description="Of the call that submitted it; in every log line of the job.")
    parent: str | None = Field(None, description="The gallery picture that its pictures are made from.")
    position: int | None = Field(None, description="Place in the queue, from 1; while queued.")
    eta: float | None = Field(None, description="Seconds until it ends, from measured step times; if known.")
    progress: Progress | None = Field(None, description="While running, and where it ended.")
    created: datetime
    started: datetime | None = None
    ended: datetime | None = None
    expires: datetime | None = Field(None, description="When the finished job is deleted.")
    attempt: int = Field(0, ge=0, description="How often it was started; more than once after a crash.")
    lost: int = Field(
        0,
        ge=0,
        description="Workers that were lost while they ran it, since its last picture; after one it runs alone.",
    )
    worker: str | None = Field(None, description="Which worker runs or ran it.")
    result: JsonObject | None = Field(
        None, description="Of a job that succeeded; of a cancelled one, what was completed."
    )
    error: Failure | None = Field(None, description="Of a job that failed.")


class Submission(FrozenModel):
    """A job to be submitted."""

    kind: str
    request: JsonObject
    owner: str = "local"
    priority: Priority = 0
    timeout: Timeout | None = None
    idempotency_key: str | None = Field(None, min_length=1, max_length=200)
    request_id: str = ""
    parent: str | None = Field(None, description="The gallery entry that its pictures are made from.")
    checkpoint: str = Field(
        "", description="The checkpoint it generates with; workers prefer one that is loaded."
    )
    open_fields: tuple[str, ...] = Field(
        (),
        description="Fields of the request that the caller left open: a repeated key may find others in them.",
    )
    cost: float = Field(1.0, gt=0, description="The job's cost for scheduling, in megapixels times steps.")


class Event(FrozenModel):
    """An event of a job. The events of all jobs share one sequence of ids."""

    id: int
    job_id: str
    kind: str = Field(description="state, progress or preview.")
    data: dict[str, Any]
    created: datetime
