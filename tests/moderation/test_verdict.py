from __future__ import annotations

import json

import numpy as np
import pytest

from safelight.errors import ImageEmptyError
from safelight.moderation import ClassifierInfo, Decision, Judgement, Policy, PolicyRef, Verdict

INFO = ClassifierInfo("open-nsfw", "d" * 64, ("sfw", "nsfw"), 3, "exact, onnxruntime fp32")
REF = PolicyRef("standard", "1", "p" * 64)


def verdict(decision: Decision = Decision.REVIEW) -> Verdict:
    return Verdict(
        decision=decision,
        scores={"sfw": 0.5, "nsfw": 0.5},
        unsafe=0.5,
        embedding=np.array([0.25, 1.5, -2.0], np.float32),
        classifier=INFO,
        policy=REF,
        frame=3,
        tile=1,
        notes=("decoded at 1/2 scale",),
    )


BODY = {
    "decision": "review",
    "scores": {"sfw": 0.5, "nsfw": 0.5},
    "unsafe": 0.5,
    "embedding_dim": 3,
    "classifier": {"name": "open-nsfw", "digest": "d" * 64, "arithmetic": "exact, onnxruntime fp32"},
    "policy": {"name": "standard", "version": "1", "digest": "p" * 64},
    "frame": 3,
    "tile": 1,
    "notes": ["decoded at 1/2 scale"],
    "error": None,
}


def test_as_json() -> None:
    assert verdict().to_dict() == BODY
    assert verdict().to_dict(embedding=True) == BODY | {"embedding": [0.25, 1.5, -2.0]}
    assert json.loads(json.dumps(verdict().to_dict(embedding=True))) == BODY | {
        "embedding": [0.25, 1.5, -2.0]
    }


@pytest.mark.parametrize("decision", Decision)
def test_flagged_means_any_decision_but_allow(decision: Decision) -> None:
    assert verdict(decision).flagged is (decision != "allow")


def test_a_judgement_with_a_verdict() -> None:
    judgement = Judgement("a.jpg", verdict=verdict())
    assert judgement.decision == "review"
    assert judgement.to_dict() == {"path": "a.jpg"} | BODY
    assert "embedding" in judgement.to_dict(embedding=True)


def test_a_judgement_with_an_error_has_the_same_keys() -> None:
    judgement = Judgement("a.jpg", error=ImageEmptyError())
    body = judgement.to_dict(embedding=True)
    assert judgement.decision == body["decision"] == "error"
    assert list(body) == list({"path": "a.jpg"} | BODY)
    assert body["error"] == ImageEmptyError().to_dict()
    assert (body["scores"], body["notes"]) == ({}, [])
    empty = ("unsafe", "embedding_dim", "classifier", "policy", "frame", "tile")
    assert [body[name] for name in empty] == [None] * 6


def test_the_reference_is_the_policys_own() -> None:
    policy = Policy.load("strict")
    assert PolicyRef.of(policy) == PolicyRef("strict", "1", policy.digest)


def test_verdicts_compare_without_embeddings() -> None:
    assert verdict() == verdict()
    assert verdict() != verdict(Decision.BLOCK)
    assert "embedding=" not in repr(verdict())
