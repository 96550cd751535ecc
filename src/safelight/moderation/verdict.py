"""What moderation says of a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.errors import SafelightError
from safelight.moderation.classifier import ClassifierInfo
from safelight.moderation.policy import Decision, Policy


@dataclass(frozen=True)
class PolicyRef:
    """Which policy decided: name, version, and the SHA-256 of its rules."""

    name: str
    version: str
    digest: str

    @classmethod
    def of(cls, policy: Policy) -> PolicyRef:
        """The reference to a policy."""
        return cls(policy.name, policy.version, policy.digest)

    def to_dict(self) -> dict[str, str]:
        """The reference for JSON output."""
        return {"name": self.name, "version": self.version, "digest": self.digest}


@dataclass(frozen=True)
class Verdict:
    """What moderation says of a picture. Same input, same digests, same arithmetic: same verdict.

    Args:
        decision: allow, review or block.
        scores: Probability by label name, each 0 to 1.
        unsafe: Probability that the picture is unsafe: the sum over the labels that the policy counts as such.
        embedding: float32 [dimension], the feature under the classifier's head.
        classifier: Name, digest and arithmetic of the classifier.
        policy: Name, version and digest of the policy.
        frame: Which frame of an animation was the worst, from 0; 0 for a still picture.
        tile: Which tile of the frame was the worst, from 0; None where the whole picture was.
        notes: What was done to the picture on its way in, and what was not seen of it.
    """

    decision: Decision
    scores: Mapping[str, float]
    unsafe: float
    embedding: NDArray[np.float32] = field(repr=False, compare=False)
    classifier: ClassifierInfo
    policy: PolicyRef
    frame: int = 0
    tile: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def flagged(self) -> bool:
        """Whether anything but allow was decided."""
        return self.decision is not Decision.ALLOW

    def to_dict(self, *, embedding: bool = False) -> dict[str, Any]:
        """The verdict for JSON output; with the embedding's numbers only where they are asked for."""
        body: dict[str, Any] = {
            "decision": self.decision.value,
            "scores": dict(self.scores),
            "unsafe": self.unsafe,
            "embedding_dim": len(self.embedding),
            "classifier": self.classifier.to_dict(),
            "policy": self.policy.to_dict(),
            "frame": self.frame,
            "tile": self.tile,
            "notes": list(self.notes),
            "error": None,
        }
        return body | {"embedding": self.embedding.tolist()} if embedding else body


@dataclass(frozen=True)
class Judgement:
    """The outcome for one file of many: a verdict, or the error that kept it from one.

    Args:
        path: What was judged, as it was given.
        verdict: The verdict, or None.
        error: The error, or None; exactly one of the two is there.
    """

    path: str
    verdict: Verdict | None = None
    error: SafelightError | None = None

    @property
    def decision(self) -> str:
        """The verdict's decision, or "error"."""
        return self.verdict.decision.value if self.verdict else "error"

    def to_dict(self, *, embedding: bool = False) -> dict[str, Any]:
        """The line for JSON output, with the same keys for verdicts and errors."""
        if self.verdict:
            return {"path": self.path} | self.verdict.to_dict(embedding=embedding)
        assert self.error is not None
        blank = dict.fromkeys(("scores", "unsafe", "embedding_dim", "classifier", "policy", "frame", "tile"))
        return {
            "path": self.path,
            "decision": "error",
            **blank,
            "scores": {},
            "notes": [],
            "error": self.error.to_dict(),
        }
