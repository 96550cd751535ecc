"""Schemas of moderation: requests, verdicts and policies."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from safelight.jobs.result import PictureVerdict
from safelight.server.api.job_fields import EncodedImage
from safelight.server.api.native.schemas.base import ResponseModel


class ModerationRequest(BaseModel):
    """One picture or several: exactly one of the two fields."""

    model_config = ConfigDict(extra="forbid")

    image: EncodedImage | None = None
    images: list[EncodedImage] | None = Field(None, min_length=1, max_length=64)


class HeatmapRequest(BaseModel):
    """One picture."""

    model_config = ConfigDict(extra="forbid")

    image: EncodedImage


class Verdicts(ResponseModel):
    """One verdict for each picture, in their order."""

    verdicts: list[PictureVerdict]


class ThresholdsView(ResponseModel):
    """The thresholds of a label's score."""

    review: float = Field(description="From this score on a person decides, 0 to 1.")
    block: float = Field(description="From this score on it is blocked, 0 to 1.")


class PolicyRules(ResponseModel):
    """A policy with its rules."""

    name: str
    version: str
    description: str = Field(description="The purpose of the policy.")
    abstain: float = Field(description="Within this distance of block a person decides, 0 to 0.5.")
    unsafe: dict[str, ThresholdsView] = Field(description="By label.")
    safe: list[str] = Field(description="Labels that count as safe.")
    default: bool = Field(description="Whether it is the server's default.")


class PolicyList(ResponseModel):
    """The policies of this server."""

    policies: list[PolicyRules]
