"""Schemas of models, samplers, schedules and styles, which requests can name."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from safelight.server.api.native.schemas.base import ListedName, ResponseModel


class GenerationDefaults(ResponseModel):
    """A checkpoint's defaults for fields that a request leaves out."""

    kind: Literal["diffusion", "flow"] = Field(description="Which samplers and schedules fit.")
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    size_multiple: int = Field(description="Width and height must be multiples of it, in pixels.")
    steps: int
    guidance_scale: float
    sampler: str
    negative: bool = Field(description="Whether a negative prompt has an effect.")


class Model(ResponseModel):
    """A model that requests can name: OpenAI's fields, and ours."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(
        description="When its file was written, seconds since 1970; 0 for what comes with Safelight."
    )
    owned_by: str
    kind: Literal["checkpoint", "classifier", "upscaler"]
    default: bool = Field(False, description="Whether it is the default of requests that name none.")
    family: str | None = Field(None, description="Of a checkpoint.")
    modes: list[str] = Field([], description="Of a checkpoint: what it can generate.")
    size: int | None = Field(None, description="Bytes of its weights.")
    precision: str | None = None
    digest: str | None = Field(None, description="SHA-256 of its weights, if it is known already.")
    loaded_by: list[str] = Field([], description="Workers that have it in memory.")
    draws: GenerationDefaults | None = Field(None, description="Of a checkpoint: its defaults.")


class ModelList(ResponseModel):
    """All models of this server."""

    object: Literal["list"] = "list"
    data: list[Model]


class LoadModelRequest(BaseModel):
    """A checkpoint to load."""

    model_config = ConfigDict(extra="forbid")

    checkpoint: ListedName


class UnloadModelRequest(BaseModel):
    """A checkpoint to unload."""

    model_config = ConfigDict(extra="forbid")

    checkpoint: ListedName | None = Field(description="Null: all checkpoints.")


class ResidencyCommand(ResponseModel):
    """A command to load or unload, and the workers that received it."""

    checkpoint: str | None = Field(None, description="Null: all checkpoints.")
    workers: list[str] = Field(description="The workers that received it; each executes it between two jobs.")


class HubFileView(ResponseModel):
    """A file of a checkpoint on the hub."""

    name: str
    size: int | None = Field(None, description="Bytes, if known.")
    present: bool = Field(description="Whether it is on this machine.")


class HubView(ResponseModel):
    """A checkpoint on the hub."""

    id: str
    present: bool = Field(description="Whether its files on this machine suffice to generate.")
    network: bool = Field(
        description="Whether the hub was asked; otherwise only files on this machine are known."
    )
    files: list[HubFileView] = Field(description="The files that generation needs.")
    size: int | None = Field(None, description="Bytes of all files, if known.")
    hint: str = Field(description="How to make it usable.")


class SamplerView(ResponseModel):
    """A sampler and its options."""

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


class SamplerList(ResponseModel):
    """All samplers."""

    samplers: list[SamplerView]


class ScheduleView(ResponseModel):
    """A sigma schedule."""

    name: str
    kinds: list[str] = Field(description="Checkpoints it fits: diffusion, flow, edm.")


class ScheduleList(ResponseModel):
    """All sigma schedules."""

    schedules: list[ScheduleView]


class StyleView(ResponseModel):
    """A prompt style: text that is added to a prompt."""

    name: str
    prompt: str
    negative_prompt: str


class StyleList(ResponseModel):
    """All prompt styles."""

    styles: list[StyleView]
