"""Schemas of the server's state: workers, limits, memory and log."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field, JsonValue

from safelight.jobs.job import Failure
from safelight.server.schemas.wire import Wire


class LoadFailure(Failure):
    """Why a checkpoint could not be loaded."""

    checkpoint: str
    time: datetime


class WorkerView(Wire):
    """A worker process."""

    name: str
    device: str = Field(description="Where it draws: cpu, cuda:0 …")
    precision: str = Field("", description="Arithmetic of drawing: fp32, fp16 …; empty until it has started.")
    backend: str = Field("", description="What runs the networks that draw.")
    why: str = Field("", description="Why it draws and judges in this way, in plain sentences.")
    state: str = Field(description="starting, loading, idle or busy.")
    checkpoints: list[str] = Field(description="Those in memory.")
    loading: str | None = Field(
        None,
        description="The checkpoint that is being loaded, or will be when the jobs on their way are done.",
    )
    last_error: LoadFailure | None = Field(
        None, description="Why the last checkpoint could not be loaded; shown to administrators."
    )
    memory: float = Field(description="Bytes resident.")


class MachineView(Wire):
    """The server's machine."""

    processor: str
    cores: int = Field(description="Those it may use.")
    memory: int = Field(description="Bytes, in all.")
    features: list[str] = Field(description="Vector and matrix units, as far as the processor names them.")


class LimitsView(Wire):
    """Limits of requests."""

    max_pixels: int = Field(description="Of a picture that comes in.")
    max_bytes: int = Field(description="Of a picture file that comes in.")
    max_frames: int = Field(description="How many frames of an animation are judged.")
    queue_capacity: int = Field(description="How many jobs may wait.")
    job_retention: float = Field(description="Seconds for which a finished job can be asked for.")


class SystemView(Wire):
    """The server, its workers and its queue."""

    version: str
    versions: dict[str, str | None] = Field(description="Of the libraries that decide what comes out.")
    machine: MachineView
    classifier: str
    policy: str
    workers: list[WorkerView]
    jobs: dict[str, int] = Field(description="How many there are in each state.")
    limits: LimitsView


class MemorySample(Wire):
    """Memory use at one time, in bytes."""

    time: datetime
    server: int = Field(description="Resident memory of the process that answers requests.")
    workers: dict[str, int] = Field(description="That of each worker, as they said last.")
    free: int = Field(description="What programs can still have of the server's machine.")


class MemoryHistory(Wire):
    """Memory use in the last hour."""

    every: float = Field(description="Seconds between two samples.")
    samples: list[MemorySample] = Field(description="The newest last.")


class LogLine(Wire):
    """One line of the log."""

    time: datetime
    level: str
    event: str = Field(description="What happened.")
    source: str = Field(description="Which module says so.")
    fields: dict[str, JsonValue] = Field(description="Everything else that the line holds.")


class LogLines(Wire):
    """The end of the log."""

    lines: list[LogLine] = Field(description="The newest last.")
