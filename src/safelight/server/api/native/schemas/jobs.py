"""Schemas of jobs: submission, lists and results."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from safelight.generation.request import RequestPart
from safelight.jobs.job import Job, Priority, Timeout
from safelight.jobs.payloads import PreprocessRequest, ScanRequest, UpscaleRequest
from safelight.server.api.job_fields import GenerateFields, JobImage, ListedName
from safelight.server.api.native.schemas.base import EntryIdText, ResponseModel
from safelight.server.core.request_bodies.image_inputs import GALLERY_PREFIX


class JobOptions(RequestPart):
    """Options of every job kind, besides its request."""

    priority: Priority = Field(0, description="Larger goes first; above 0 for administrators only.")
    timeout: Timeout | None = Field(
        None, description="Seconds it may run, pauses not counted; then it fails."
    )


class DerivedJob(JobOptions):
    """Options of job kinds that make pictures from others."""

    parent: EntryIdText | None = Field(
        None, description="The gallery picture that the new ones are made from; their entries name it."
    )


class GenerateJob(DerivedJob, GenerateFields):
    """Generate pictures from a prompt, and from a picture if one is given."""

    kind: Literal["generate"]
    init_from_parent: bool = Field(False, description="Start from the parent's picture.")

    @model_validator(mode="before")
    @classmethod
    def _start_from_parent(cls, given: Any) -> Any:
        """Make the parent's picture the initial picture, before the fields that need one are checked."""
        if not isinstance(given, dict) or given.get("init_from_parent") is not True:
            return given
        if given.get("parent") is None:
            raise ValueError("init_from_parent needs a parent")
        if given.get("init_image") is not None:
            raise ValueError("give either init_image or init_from_parent")
        return given | {"init_image": f"{GALLERY_PREFIX}{given['parent']}"}


class UpscaleJob(DerivedJob, UpscaleRequest):
    """Enlarge a picture."""

    kind: Literal["upscale"]
    image: JobImage | None = Field(  # type: ignore[assignment]  # bytes by the time it is a request
        None,
        description="The picture: in base64, or gallery: and the id of an entry; the parent's when not given.",
    )
    upscaler: ListedName = "lanczos"

    @model_validator(mode="before")
    @classmethod
    def _upscale_parent(cls, given: Any) -> Any:
        """Make the parent's picture the one to upscale where no other is given."""
        if not isinstance(given, dict) or given.get("image") is not None:
            return given
        if given.get("parent") is None:
            raise ValueError("an upscaling needs an image or a parent")
        return given | {"image": f"{GALLERY_PREFIX}{given['parent']}"}


class PreprocessJob(JobOptions, PreprocessRequest):
    """Make the picture that steers a generation from another; the gallery keeps it."""

    kind: Literal["preprocess"]
    image: JobImage  # type: ignore[assignment]  # likewise


class ScanJob(JobOptions, ScanRequest):
    """Judge many pictures."""

    kind: Literal["scan"]
    images: tuple[JobImage, ...] = Field(min_length=1, max_length=10_000)  # type: ignore[assignment]  # likewise


JobBody = Annotated[GenerateJob | UpscaleJob | PreprocessJob | ScanJob, Field(discriminator="kind")]


class JobPage(ResponseModel):
    """A page of jobs, the newest first, without results; of a scan's pictures only their number."""

    jobs: list[Job]
    next: str | None = Field(description="What to give as before for the next page; null on the last.")
