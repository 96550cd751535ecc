"""Schemas of preprocessors."""

from __future__ import annotations

from pydantic import Field

from safelight.jobs.payloads import PreprocessRequest
from safelight.server.api.job_fields import JobImage
from safelight.server.api.native.schemas.base import ResponseModel


class PreprocessBody(PreprocessRequest):
    """A picture, and what is to be made of it."""

    image: JobImage  # type: ignore[assignment]  # bytes by the time it is a request


class ParameterView(ResponseModel):
    """A parameter of a preprocessor."""

    name: str
    type: str = Field(description="integer, number, boolean or string.")
    default: bool | int | float | str
    minimum: float | None = None
    maximum: float | None = None
    description: str


class PreprocessorView(ResponseModel):
    """A preprocessor."""

    name: str
    title: str
    description: str
    control_type: str = Field(description="A1111's group of the control models that its result steers.")
    aliases: list[str] = Field(description="Other names for it, as clients of A1111 have them.")
    available: bool = Field(description="Whether the weights that it needs are on this machine.")
    extra: str = Field(description="The optional extra of Safelight that has its weights; empty: none.")
    runs_in_worker: bool = Field(
        description="Whether it runs as a job, whose picture the gallery keeps; the others answer at once."
    )
    parameters: list[ParameterView]


class PreprocessorList(ResponseModel):
    """All preprocessors."""

    preprocessors: list[PreprocessorView]
