"""Schemas of jobs: submission, lists and results."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from safelight.generation.request import GenerationRequest, Part
from safelight.jobs.job import Job, Priority, Timeout
from safelight.jobs.requests import ScanRequest, UpscaleRequest
from safelight.server.schemas.wire import EncodedPicture, ListedName, Wire


class Submitted(Part):
    """Options of every kind of job, besides its request."""

    priority: Priority = Field(0, description="Larger goes first; above 0 for administrators only.")
    timeout: Timeout | None = Field(
        None, description="Seconds it may run, pauses not counted; then it fails."
    )


class GenerateJob(Submitted, GenerationRequest):
    """Generate pictures from a prompt, and from a picture if one is given."""

    kind: Literal["generate"]
    checkpoint: ListedName | None = Field(None, description="A checkpoint that GET /v1/models lists.")
    init_image: EncodedPicture | None = Field(None, description="The picture to start from, in base64.")
    mask: EncodedPicture | None = Field(
        None, description="White where the picture is to be regenerated, in base64."
    )


class UpscaleJob(Submitted, UpscaleRequest):
    """Enlarge a picture."""

    kind: Literal["upscale"]
    image: EncodedPicture  # type: ignore[assignment]  # bytes by the time it is a request
    upscaler: ListedName = "lanczos"


class ScanJob(Submitted, ScanRequest):
    """Judge many pictures."""

    kind: Literal["scan"]
    images: tuple[EncodedPicture, ...] = Field(min_length=1, max_length=10_000)  # type: ignore[assignment]  # likewise


JobBody = Annotated[GenerateJob | UpscaleJob | ScanJob, Field(discriminator="kind")]


class JobPage(Wire):
    """A page of jobs, the newest first, without results; of a scan's pictures only their number."""

    jobs: list[Job]
    next: str | None = Field(description="What to give as before for the next page; null on the last.")
