"""Schemas of moderation: requests, verdicts and policies."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from safelight.jobs.job import Failure
from safelight.server.schemas.wire import EncodedPicture, Wire


class PicturesToJudge(BaseModel):
    """One picture or several: exactly one of the two fields."""

    model_config = ConfigDict(extra="forbid")

    image: EncodedPicture | None = None
    images: list[EncodedPicture] | None = Field(None, min_length=1, max_length=64)


class PictureToExplain(BaseModel):
    """One picture."""

    model_config = ConfigDict(extra="forbid")

    image: EncodedPicture


class ClassifierView(Wire):
    """The classifier of a verdict."""

    name: str
    digest: str = Field(description="SHA-256 of its weights.")
    arithmetic: str = Field(description="Mode, backend and precision, such as exact, onnxruntime fp32.")


class PolicyView(Wire):
    """The policy of a verdict."""

    name: str
    version: str
    digest: str = Field(description="SHA-256 of its rules.")


class PictureVerdict(Wire):
    """The verdict on one of several pictures."""

    index: int = Field(description="Which of the pictures, from 0.")
    decision: Literal["allow", "review", "block", "error"]
    scores: dict[str, float] = Field({}, description="Probability by label, 0 to 1.")
    unsafe: float | None = Field(None, description="Probability that it is unsafe, 0 to 1.")
    embedding_dim: int | None = None
    embedding: list[float] | None = Field(None, description="Where it was asked for.")
    classifier: ClassifierView | None = None
    policy: PolicyView | None = None
    frame: int | None = Field(None, description="Which frame of an animation was the worst.")
    tile: int | None = Field(None, description="Which tile was the worst; null: the whole picture.")
    notes: tuple[str, ...] = ()
    error: Failure | None = Field(None, description="Why it could not be judged; then decision is error.")


class Verdicts(Wire):
    """One verdict for each picture, in their order."""

    verdicts: list[PictureVerdict]


class ThresholdsView(Wire):
    """The thresholds of a label's score."""

    review: float = Field(description="From this score on a person decides, 0 to 1.")
    block: float = Field(description="From this score on it is blocked, 0 to 1.")


class PolicyRules(Wire):
    """A policy with its rules."""

    name: str
    version: str
    description: str = Field(description="The purpose of the policy.")
    abstain: float = Field(description="Within this distance of block a person decides, 0 to 0.5.")
    unsafe: dict[str, ThresholdsView] = Field(description="By label.")
    safe: list[str] = Field(description="Labels that count as safe.")
    default: bool = Field(description="Whether it is the server's default.")


class PolicyList(Wire):
    """The policies of this server."""

    policies: list[PolicyRules]
