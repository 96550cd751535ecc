"""Verdicts: the results of moderating images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.errors import SafelightError
from safelight.moderation.classifiers.classifier import ClassifierInfo
from safelight.moderation.policy import Decision, Policy


@dataclass(frozen=True)
class PolicyRef:
    """Reference to a policy: name, version, and the SHA-256 of its rules."""

    name: str
    version: str
    digest: str

    @classmethod
    def of(cls, policy: Policy) -> PolicyRef:
        """Return the reference to a policy."""
        return cls(policy.name, policy.version, policy.digest)

    def to_dict(self) -> dict[str, str]:
        """Return the reference for JSON output."""
        return {"name": self.name, "version": self.version, "digest": self.digest}


@dataclass(frozen=True)
class Verdict:
    """The moderation result of an image. The same input, digests and arithmetic give the same verdict.

    Args:
        decision: allow, review or block.
        scores: Probability by label name, each 0 to 1.
        unsafe: Probability that the image is unsafe: the sum over the labels that the policy counts as unsafe.
        embedding: float32 [dimension], the input of the classifier's head.
        classifier: Name, digest and arithmetic of the classifier.
        policy: Name, version and digest of the policy.
        frame: Index of the worst frame of an animation, from 0; 0 for a still image.
        tile: Index of the worst tile of the frame, from 0; None if the whole image was worst.
        notes: How the image was changed while decoding, and which parts of it were not classified.
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
        """Whether the decision is not allow."""
        return self.decision is not Decision.ALLOW

    def to_dict(self, *, embedding: bool = False) -> dict[str, Any]:
        """Return the verdict for JSON output; the embedding's values are included only on request."""
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
    """The result of one file of many: a verdict or an error.

    Args:
        path: The path or name as given.
        verdict: The verdict, or None.
        error: The error, or None; exactly one of the two is set.
    """

    path: str
    verdict: Verdict | None = None
    error: SafelightError | None = None

    @property
    def decision(self) -> str:
        """The verdict's decision, or "error"."""
        return self.verdict.decision.value if self.verdict else "error"

    def to_dict(self, *, embedding: bool = False) -> dict[str, Any]:
        """Return the row for JSON output, with the same keys for verdicts and errors."""
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
