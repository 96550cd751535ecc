"""The result of a job: one typed, versioned format for the database, the API, the client and the command line.

Version 1 had no version field, and its pictures had no seconds, stopped_at or verdict. Its results can still be read.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from safelight.gallery.entry import Relation
from safelight.jobs.job import Failure, JsonObject
from safelight.moderation.policy import Decision

VERSION: Literal[2] = 2


class ResultPart(BaseModel):
    """A frozen part of a result, which can be made from an object's attributes. It ignores fields of later versions."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class ClassifierView(ResultPart):
    """The classifier that judged a picture."""

    name: str
    digest: str = Field(description="SHA-256 of its weights.")
    arithmetic: str = Field(description="Road and precision.")


class PolicyView(ResultPart):
    """The policy that decided."""

    name: str
    version: str
    digest: str = Field(description="SHA-256 of its rules.")


class VerdictView(ResultPart):
    """The verdict of moderation on a picture."""

    decision: Literal["allow", "review", "block", "error"]
    scores: dict[str, float] = Field({}, description="Probability by label, 0 to 1.")
    unsafe: float | None = Field(None, description="Probability that it is unsafe, 0 to 1.")
    embedding_dim: int | None = None
    classifier: ClassifierView | None = None
    policy: PolicyView | None = None
    frame: int | None = Field(None, description="Which frame of an animation was the worst.")
    tile: int | None = Field(None, description="Which tile was the worst; null: the whole picture.")
    notes: tuple[str, ...] = ()
    error: Failure | None = Field(None, description="Why it could not be judged; then decision is error.")


class PictureVerdict(VerdictView):
    """The verdict of moderation on one of several pictures."""

    index: int = Field(description="Which of the pictures, from 0.")
    embedding: list[float] | None = Field(None, description="Where it was asked for.")


class PictureMemory(ResultPart):
    """The memory that a picture took while it was generated."""

    steps: list[str] = Field([], description="What was done to make it fit; see docs/memory.md.")
    planned: dict[str, int] = Field(
        {}, description="The most bytes by stage as planned; empty where everything certainly fitted."
    )
    measured: dict[str, int] = Field(
        {}, description="The most bytes by stage as measured; empty where they cannot be measured."
    )


class GeneratedImage(ResultPart):
    """A picture that a job generated."""

    id: str = Field(description="Its entry in the gallery.")
    index: int = Field(description="Which of the job's pictures it is, from 0; skipped ones are left out.")
    seed: int | None = None
    width: int
    height: int
    decision: Decision
    unsafe: float | None = Field(None, description="Probability that it is unsafe, 0 to 1.")
    scores: dict[str, float] = Field({}, description="Probability by label, 0 to 1.")
    sampler: str | None = None
    steps: int | None = None
    checkpoint: str | None = None
    infotext: str | None = Field(None, description="How it was made, as A1111 writes it.")
    parent_id: str | None = Field(None, description="The gallery picture that it was made from.")
    relation: Relation | None = Field(None, description="How it was made from its parent.")
    notes: list[str] = Field(
        [], description="What was done that the request did not ask for, and what had no effect."
    )
    sha256: str | None = Field(None, description="Of the file.")
    url: str | None = Field(None, description="Where the file is; null where the policy blocks the picture.")
    seconds: float | None = Field(None, description="What it took; null if an earlier attempt made it.")
    stopped_at: int | None = Field(
        None, description="The step after which it was stopped; null for a finished picture."
    )
    memory: PictureMemory | None = Field(
        None, description="The memory that it took; null if an earlier attempt made the picture."
    )
    verdict: VerdictView | None = Field(
        None, description="The whole verdict; null if an earlier attempt made the picture."
    )


class JobResult(ResultPart):
    """The result of a job: the pictures of generate, upscale and preprocess, the verdicts of scan."""

    version: Literal[1, 2] = Field(
        1,
        exclude=True,
        description="Of the stored layout; 1 where it is not given. The API has it in its address.",
    )
    pictures: tuple[GeneratedImage, ...] = ()
    verdicts: tuple[PictureVerdict, ...] = ()

    @classmethod
    def parse(cls, stored: JsonObject) -> Self:
        """Read a stored result of any version.

        Pictures and verdicts are validated one by one, so that other threads can run between thousands of them.
        """
        parts: dict[str, Any] = {name: value for name, value in stored.items() if isinstance(value, list)}
        return cls(
            version=stored.get("version", 1),
            pictures=tuple(GeneratedImage.model_validate(each) for each in parts.get("pictures", ())),
            verdicts=tuple(PictureVerdict.model_validate(each) for each in parts.get("verdicts", ())),
        )

    def to_dict(self) -> JsonObject:
        """The result as JSON, with the fields that were set."""
        return {"version": self.version, **self.model_dump(mode="json", exclude_unset=True)}

    @classmethod
    def from_pictures(cls, pictures: list[GeneratedImage]) -> Self:
        """The result of a job that generates pictures."""
        return cls(version=VERSION, pictures=tuple(pictures))

    @classmethod
    def from_verdicts(cls, verdicts: list[PictureVerdict]) -> Self:
        """The result of a job that judges pictures."""
        return cls(version=VERSION, verdicts=tuple(verdicts))
