"""Schemas of the server's state: workers, limits, memory and log."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field, JsonValue

from safelight.jobs.job import Failure
from safelight.server.api.native.schemas.base import ResponseModel


class LoadFailure(Failure):
    """Why a checkpoint could not be loaded."""

    checkpoint: str
    time: datetime


class StagePeak(ResponseModel):
    """The most memory that a stage of a worker's last picture of a family took."""

    family: str
    stage: str = Field(description="text encoders, encode, denoise or decode.")
    planned: int | None = Field(description="Bytes as planned; null where everything certainly fitted.")
    measured: int | None = Field(description="Bytes as measured; null where they cannot be measured.")


class DeviceView(ResponseModel):
    """A device of a worker's machine."""

    name: str = Field(description="As torch names it: cpu, cuda:0 …")
    title: str = Field(description="Its product name.")
    precisions: list[str] = Field(description="The precisions that it computes natively and right.")
    details: str = Field(description="What it has, in plain words.")
    used_for: list[str] = Field(description="What runs on it: denoiser, text_encoders, vae.")
    total: int | None = Field(description="Bytes of its memory; null where nothing of the worker runs on it.")
    free: int | None = Field(description="Bytes of it that the worker can still take; likewise.")


class WorkerView(ResponseModel):
    """A worker process."""

    name: str
    device: str = Field(description="The device it generates on: cpu, cuda:0 …")
    precision: str = Field(
        "", description="Precision of generation: fp32, fp16 …; empty until it has started."
    )
    backend: str = Field("", description="The backend that runs the generation networks.")
    why: str = Field("", description="Why it uses this device, precision and backend, in plain sentences.")
    state: str = Field(description="starting, loading, idle or busy.")
    checkpoints: list[str] = Field(description="The checkpoints in memory.")
    loading: str | None = Field(
        None,
        description="The checkpoint that is being loaded, or will be after the running jobs.",
    )
    last_error: LoadFailure | None = Field(
        None, description="Why the last checkpoint could not be loaded; shown to administrators."
    )
    memory: float = Field(description="Resident memory, in bytes.")
    shortages: int = Field(
        0, description="How often the memory ran short while a picture was generated, so that less was taken."
    )
    stages: list[StagePeak] = Field(
        [], description="Of the last picture of each family, the most recent family first."
    )
    devices: list[DeviceView] = Field([], description="The devices of its machine, the CPU first.")
    device_notes: list[str] = Field(
        [], description="A sentence on each device of the settings whose place the CPU has taken."
    )


class MachineView(ResponseModel):
    """The server's machine."""

    processor: str
    cores: int = Field(description="Cores that the process may use.")
    memory: int = Field(description="Total memory, in bytes.")
    features: list[str] = Field(description="Vector and matrix units, as far as the processor names them.")


class LimitsView(ResponseModel):
    """Limits of requests."""

    max_pixels: int = Field(description="Maximum pixels of an input picture.")
    max_bytes: int = Field(description="Maximum bytes of an input picture's file.")
    max_frames: int = Field(description="Maximum frames of an animation that are judged.")
    queue_capacity: int = Field(description="Maximum number of waiting jobs.")
    job_retention: float = Field(description="Seconds for which a finished job is kept.")


class SystemView(ResponseModel):
    """The server, its workers and its queue."""

    version: str
    versions: dict[str, str | None] = Field(description="Versions of the libraries that affect results.")
    machine: MachineView
    classifier: str
    policy: str
    workers: list[WorkerView]
    jobs: dict[str, int] = Field(description="Number of jobs by state.")
    queue_paused: bool = Field(description="Whether no further job starts.")
    limits: LimitsView


class MemorySample(ResponseModel):
    """Memory use at one time, in bytes."""

    time: datetime
    server: int = Field(description="Resident memory of the process that answers requests.")
    workers: dict[str, int] = Field(description="Resident memory of each worker, as it last reported.")
    free: int = Field(description="Available memory of the server's machine.")


class MemoryHistory(ResponseModel):
    """Memory use in the last hour."""

    every: float = Field(description="Seconds between two samples.")
    samples: list[MemorySample] = Field(description="The newest last.")


class PlannedStage(ResponseModel):
    """A stage of a picture, as its memory is planned."""

    name: str = Field(description="text_encoder, text_encoder_2 …, encode, denoise or decode.")
    component: str = Field(description="The network that it runs.")
    device: str = Field(description="The kind of its device, where that is not the denoiser's; else empty.")
    placement: Literal["device", "blocks", "disk"] = Field(
        description="Where the network's weights are: on the device; in the host's memory, block by block on the "
        "device; or on the disk, read block by block."
    )
    weight_bytes: int = Field(description="Bytes of weights on the device.")
    activation_bytes: int = Field(description="Bytes beside them.")
    peak_bytes: int = Field(description="Bytes of both, and of what the allocator takes beside them.")
    copied_bytes: int = Field(description="Bytes that are copied or read for a picture.")
    steps: list[str] = Field(description="The steps that apply to it; see docs/memory.md.")


class MemoryPlanView(ResponseModel):
    """How a picture fits a worker's memory."""

    checkpoint: str
    family: str
    width: int
    height: int
    worker: str
    device: str = Field(description="The kind of the device of the worker's denoiser: cpu, cuda …")
    fits: bool
    precision: str
    peak_bytes: int = Field(description="Bytes of the stage that takes the most.")
    usable_bytes: int = Field(description="Bytes that networks and a picture may take now.")
    host_bytes: int = Field(description="Bytes of the host's memory for networks whose blocks are copied.")
    steps_taken: list[str] = Field(description="What is done to make it fit; see docs/memory.md.")
    stages: list[PlannedStage] = Field(description="The stages in the order in which they run.")


class LogLine(ResponseModel):
    """One line of the log."""

    time: datetime
    level: str
    event: str = Field(description="What happened.")
    source: str = Field(description="The module that logged it.")
    fields: dict[str, JsonValue] = Field(description="All other fields of the line.")


class LogLines(ResponseModel):
    """The end of the log."""

    lines: list[LogLine] = Field(description="The newest last.")
