"""Policies: turn scores by label into a decision, allow, review or block."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from safelight.errors import FileMissingError, PolicyError, PolicyLabelError
from safelight.validation import first_problem

PRESETS = ("strict", "standard", "lenient")


class Decision(StrEnum):
    """The decision on an image, from harmless to worst."""

    ALLOW = "allow"
    REVIEW = "review"
    BLOCK = "block"

    @property
    def severity(self) -> int:
        """0 for allow, 1 for review, 2 for block."""
        return list(Decision).index(self)


Probability = Annotated[float, Field(ge=0, le=1)]
Label = Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True, min_length=1)]


class Thresholds(BaseModel):
    """Thresholds of one label: the scores from which an image goes to review and from which it is blocked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    review: Probability = Field(description="Scores from here on go to a person, 0 to 1.")
    block: Probability = Field(description="Scores from here on are blocked, 0 to 1, not below review.")

    @model_validator(mode="after")
    def _block_not_below_review(self) -> Self:
        if self.block < self.review:
            raise ValueError("block must not be below review")
        return self


class Policy(BaseModel):
    """Thresholds for each unsafe label, the safe labels, and an abstention band.

    Labels are case-insensitive. A classifier's label that the policy does not mention is an error; it never counts as
    safe by omission.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, description="What the policy is called in every verdict.")
    version: str = Field(min_length=1, description="Raised with every change; part of every verdict.")
    description: str = Field("", description="For whom it is meant.")
    abstain: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="Within this distance of block, a person decides: the verdict is review.",
    )
    unsafe: dict[Label, Thresholds] = Field(min_length=1, description="Labels that count as unsafe.")
    safe: frozenset[Label] = Field(frozenset(), description="Labels that do not.")

    @field_validator("unsafe", mode="before")
    @classmethod
    def _labels_are_unique(cls, unsafe: Any) -> Any:
        names = [str(name).strip().lower() for name in unsafe] if isinstance(unsafe, dict) else []
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"given twice, since case does not matter: {', '.join(twice)}")
        return unsafe

    @model_validator(mode="after")
    def _safe_and_unsafe_are_disjoint(self) -> Self:
        if both := self.safe & set(self.unsafe):
            raise ValueError(f"labels cannot be safe and unsafe at once: {', '.join(sorted(both))}")
        return self

    @classmethod
    def load(cls, name_or_path: str | Path) -> Policy:
        """Load a preset by name, or a policy from a TOML file.

        Raises:
            FileMissingError: Neither a preset nor a readable file.
            PolicyError: The file is not a policy.
        """
        if str(name_or_path) in PRESETS:
            return cls.parse(files(__package__).joinpath(f"policies/{name_or_path}.toml").read_text("utf-8"))
        try:
            text = Path(name_or_path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise FileMissingError(
                f"There is no policy {str(name_or_path)!r} that can be read.",
                hint=f"Give the path of a TOML file, or one of {', '.join(PRESETS)}.",
            ) from error
        try:
            return cls.parse(text)
        except PolicyError as error:
            raise PolicyError(f"{name_or_path}: {error.message}") from error

    @classmethod
    def parse(cls, toml: str) -> Policy:
        """Parse a policy from the text of a TOML file.

        Raises:
            PolicyError: The text is not TOML, or a field is missing, out of range or unknown.
        """
        try:
            return cls.model_validate(tomllib.loads(toml))
        except tomllib.TOMLDecodeError as error:
            raise PolicyError(f"The policy is not TOML: {error}.") from error
        except ValidationError as error:
            problem = first_problem(error)
            raise PolicyError(f"{problem.field or 'policy'}: {problem.message}.") from error

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all fields that can change a decision, in hexadecimal."""
        body = self.model_dump(mode="json", exclude={"description"}) | {"safe": sorted(self.safe)}
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()

    def check_labels(self, labels: tuple[str, ...]) -> None:
        """Check that the policy covers every label of a classifier, and that at least one of them is unsafe.

        Raises:
            PolicyLabelError: A label is not mentioned, or none of them is unsafe.
        """
        known = self.safe | set(self.unsafe)
        if unknown := [label for label in labels if label.lower() not in known]:
            raise PolicyLabelError(
                f"Policy {self.name!r} does not mention the label(s) {', '.join(unknown)}."
            )
        if not any(label.lower() in self.unsafe for label in labels):
            raise PolicyLabelError(f"Policy {self.name!r} counts none of {', '.join(labels)} as unsafe.")

    @property
    def lowest_threshold(self) -> float:
        """The lowest unsafe probability at which a decision other than allow is possible."""
        return min(min(each.review, each.block - self.abstain) for each in self.unsafe.values())

    def unsafe_score(self, scores: Mapping[str, float]) -> float:
        """Return the probability that the image is unsafe: the sum over unsafe labels, which are exclusive."""
        total = sum(score for label, score in scores.items() if label.lower() in self.unsafe)
        return 1.0 if math.isnan(total) else min(1.0, max(0.0, total))

    def decide(self, scores: Mapping[str, float]) -> Decision:
        """Return the worst of the labels' decisions.

        Args:
            scores: Probability by label name; the policy must cover each label (``check_labels``).
        """
        return max(
            (self._decide_label(label.lower(), score) for label, score in scores.items()),
            key=lambda decision: decision.severity,
        )

    def _decide_label(self, label: str, score: float) -> Decision:
        thresholds = self.unsafe.get(label)
        if thresholds is None:
            return Decision.ALLOW
        if abs(score - thresholds.block) < self.abstain:
            return Decision.REVIEW
        if score < thresholds.review:
            return Decision.ALLOW
        # In this order NaN, which is not less than any number, gives block.
        return Decision.REVIEW if score < thresholds.block else Decision.BLOCK
