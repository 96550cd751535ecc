"""Schemas of jobs: submission, lists and results."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from safelight.generation.request import GenerationRequest, RequestPart
from safelight.jobs.job import Job, Priority, Timeout
from safelight.jobs.payloads import ScanRequest, UpscaleRequest
from safelight.server.api.native.schemas.base import EncodedImage, ListedName, ResponseModel


class JobOptions(RequestPart):
    """Options of every job kind, besides its request."""

    priority: Priority = Field(0, description="Larger goes first; above 0 for administrators only.")
    timeout: Timeout | None = Field(
        None, description="Seconds it may run, pauses not counted; then it fails."
    )


class GenerateJob(JobOptions, GenerationRequest):
    """Generate pictures from a prompt, and from a picture if one is given."""

    kind: Literal["generate"]
    checkpoint: ListedName | None = Field(None, description="A checkpoint that GET /v1/models lists.")
    init_image: EncodedImage | None = Field(None, description="The picture to start from, in base64.")
    mask: EncodedImage | None = Field(
        None, description="White where the picture is to be regenerated, in base64."
    )


class UpscaleJob(JobOptions, UpscaleRequest):
    """Enlarge a picture."""

    kind: Literal["upscale"]
    image: EncodedImage  # type: ignore[assignment]  # bytes by the time it is a request
    upscaler: ListedName = "lanczos"


class ScanJob(JobOptions, ScanRequest):
    """Judge many pictures."""

    kind: Literal["scan"]
    images: tuple[EncodedImage, ...] = Field(min_length=1, max_length=10_000)  # type: ignore[assignment]  # likewise


JobBody = Annotated[GenerateJob | UpscaleJob | ScanJob, Field(discriminator="kind")]


class JobPage(ResponseModel):
    """A page of jobs, the newest first, without results; of a scan's pictures only their number."""

    jobs: list[Job]
    next: str | None = Field(description="What to give as before for the next page; null on the last.")
