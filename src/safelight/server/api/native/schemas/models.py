"""Schemas of models, samplers, schedules and styles, which requests can name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from safelight.server.api.job_fields import ListedName
from safelight.server.api.native.errors import NativeError
from safelight.server.api.native.schemas.base import ResponseModel


class GenerationDefaults(ResponseModel):
    """A checkpoint's defaults for fields that a request leaves out."""

    kind: Literal["diffusion", "flow"] = Field(description="Which samplers and schedules fit.")
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    size_multiple: int = Field(description="Width and height must be multiples of it, in pixels.")
    steps: int
    guidance_scale: float
    sampler: str
    schedule: str | None = Field(None, description="Sigma schedule; null: the sampler's.")
    negative: bool = Field(description="Whether a negative prompt has an effect.")
    not_taken: list[str] = Field(
        description="Fields of a request that the checkpoint does not take; forms may leave them out."
    )


class ReferenceLimits(ResponseModel):
    """How a checkpoint looks at reference pictures."""

    required: bool = Field(description="Whether it generates nothing without one.")
    maximum: int | None = Field(description="Most pictures; null: as many as the memory holds.")
    modes: list[str] = Field(description="Where it looks at them.")
    image_guidance: bool = Field(description="Whether image_guidance_scale has an effect.")


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
    references: ReferenceLimits | None = Field(
        None, description="Of a checkpoint: the pictures in references; null where it does not look at any."
    )
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


class PullRequest(BaseModel):
    """A model to download."""

    model_config = ConfigDict(extra="forbid")

    reference: Annotated[str, Field(min_length=1, max_length=500)] = Field(
        description="owner/name[@revision] on the hub, civitai:MODEL[@VERSION], a page's address, or an AIR urn."
    )
    file: Annotated[str, Field(min_length=1, max_length=500)] | None = Field(
        None, description="Only this file of the repository."
    )


class PullFileView(ResponseModel):
    """A file that a pull downloads."""

    name: str
    size: int | None = Field(None, description="Bytes.")
    sha256: str | None = Field(
        None, description="What it is checked against; null for small files of the hub."
    )


class PullOffer(ResponseModel):
    """What a pull would download."""

    origin: Literal["hub", "civitai"]
    reference: str = Field(description="Names exactly this version.")
    title: str
    name: str = Field(description="What it will be called.")
    kind: str | None = Field(None, description="What the source says it is; null if nothing.")
    licence: str = Field(description="What the source says of its licence; empty if nothing.")
    gated: bool = Field(description="Whether the source wants its terms to be accepted first.")
    size: int = Field(description="Bytes of all files.")
    trigger_words: str
    files: list[PullFileView]


class PullView(ResponseModel):
    """A download of a model."""

    id: str
    reference: str
    file: str | None = Field(None, description="The file; null for all files of a repository.")
    title: str
    state: Literal["waiting", "running", "done", "failed", "stopped"]
    size: int = Field(description="Bytes of all files.")
    done: int = Field(description="Bytes that are there.")
    name: str | None = Field(None, description="What it is called, when it is there.")
    kind: str | None = Field(None, description="What it is by its content, when it is there.")
    family: str | None = None
    remarks: list[str] = Field([], description="What to know about it.")
    error: NativeError | None = Field(None, description="Why it failed.")


class PullList(ResponseModel):
    """The downloads."""

    pulls: list[PullView]


class WeightsFileView(ResponseModel):
    """A file of weights, or a diffusers folder."""

    name: str = Field(description="Its path below its folder.")
    folder: str = Field(description="The folder's name.")
    kind: str = Field(description="checkpoint, denoiser, autoencoder, LoRA, embedding, upscaler, pickle …")
    family: str | None = Field(None, description="Where the file tells.")
    precision: str | None = None
    size: int = Field(description="Bytes.")
    usable: bool = Field(description="Whether pictures can be generated with it.")
    reason: str = Field("", description="Why not.")


class WeightsFileList(ResponseModel):
    """A page of files."""

    files: list[WeightsFileView]
    total: int = Field(description="How many have a matching name, of any kind.")
    next: int | None = Field(None, description="Where the next page begins; null at the end.")


class FolderRequest(BaseModel):
    """A folder to look into."""

    model_config = ConfigDict(extra="forbid")

    path: Annotated[str, Field(min_length=1, max_length=4096)] = Field(
        description="An absolute path on the server's machine, or of ComfyUI's extra_model_paths.yaml."
    )


class FolderView(ResponseModel):
    """A folder that is looked into."""

    path: str
    present: bool = Field(description="Whether it is there now.")


class FolderList(ResponseModel):
    """The setting ``model_folders``."""

    folders: list[FolderView]
    can_change: bool = Field(
        description="Whether safelight.toml holds the setting, so that it can be changed here."
    )
    own: str = Field(description="The data directory's folder of checkpoints.")


class SamplerView(ResponseModel):
    """A sampler and its options."""

    name: str
    aliases: list[str]
    kinds: list[str] = Field(description="Checkpoints it fits: diffusion, flow, edm, trigflow.")
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
    kinds: list[str] = Field(description="Checkpoints it fits: diffusion, flow, edm, trigflow.")


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
