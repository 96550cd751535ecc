"""The server itself."""

from __future__ import annotations

from pydantic import Field

from safelight.server.schemas.wire import Wire


class WorkerView(Wire):
    """A process that does jobs."""

    name: str
    device: str
    state: str
    checkpoints: list[str] = Field(description="Those in memory.")
    memory: float = Field(description="Bytes resident.")


class LimitsView(Wire):
    """What requests are held to."""

    max_pixels: int = Field(description="Of a picture that comes in.")
    max_bytes: int = Field(description="Of a picture file that comes in.")
    max_frames: int = Field(description="How many frames of an animation are judged.")
    queue_capacity: int = Field(description="How many jobs may wait.")
    job_retention: float = Field(description="Seconds for which a finished job can be asked for.")


class SystemView(Wire):
    """The server, its workers and its queue."""

    version: str
    versions: dict[str, str | None] = Field(description="Of the libraries that decide what comes out.")
    classifier: str
    policy: str
    workers: list[WorkerView]
    jobs: dict[str, int] = Field(description="How many there are in each state.")
    limits: LimitsView
