"""What can be named in a request."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from safelight.server.schemas.wire import Wire


class Model(Wire):
    """Something with weights or an algorithm that can be named in a request. OpenAI's fields, and ours."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(
        description="When its file was written, seconds since 1970; 0 for what comes with Safelight."
    )
    owned_by: str
    kind: Literal["checkpoint", "classifier", "upscaler"]
    default: bool = Field(False, description="Whether it is what a request gets that names none.")
    family: str | None = Field(None, description="Of a checkpoint.")
    modes: list[str] = Field([], description="What a checkpoint can draw.")
    size: int | None = Field(None, description="Bytes of its weights.")
    precision: str | None = None
    digest: str | None = Field(None, description="SHA-256 of its weights, where it is known already.")
    loaded_by: list[str] = Field([], description="Workers that have it in memory.")


class ModelList(Wire):
    """All models of this server."""

    object: Literal["list"] = "list"
    data: list[Model]


class SamplerView(Wire):
    """A sampler and what it takes."""

    name: str
    aliases: list[str]
    kinds: list[str] = Field(description="Checkpoints it fits: diffusion, flow, edm.")
    schedules: list[str] = Field(description="Sigma schedules it takes, the default first.")
    predictions: list[str]
    eta: float | None
    stochastic: bool
    calls_per_step: int
    max_steps: int | None
    note: str


class SamplerList(Wire):
    """All samplers."""

    samplers: list[SamplerView]


class ScheduleView(Wire):
    """A sigma schedule."""

    name: str
    kinds: list[str] = Field(description="Checkpoints it fits: diffusion, flow, edm.")


class ScheduleList(Wire):
    """All sigma schedules."""

    schedules: list[ScheduleView]


class StyleView(Wire):
    """Words that are put around a prompt."""

    name: str
    prompt: str
    negative_prompt: str


class StyleList(Wire):
    """All prompt styles."""

    styles: list[StyleView]
