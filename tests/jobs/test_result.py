from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from safelight.jobs.job import JsonObject
from safelight.jobs.result import GeneratedImage, JobResult, PictureVerdict
from safelight.moderation.policy import Decision

PICTURE: JsonObject = {
    "id": "x",
    "index": 0,
    "seed": 7,
    "width": 64,
    "height": 64,
    "decision": "allow",
    "unsafe": 0.1,
    "scores": {"nsfw": 0.1, "sfw": 0.9},
    "sampler": "Euler",
    "steps": 3,
    "checkpoint": "starter",
    "infotext": "a cat",
    "notes": [],
    "sha256": "0" * 64,
    "url": "/v1/gallery/x/file",
}
VERDICT: JsonObject = {"index": 0, "decision": "error", "scores": {}, "unsafe": None, "notes": []}


def test_results_of_the_first_version_are_read() -> None:
    found = JobResult.parse({"pictures": [PICTURE]})
    assert found.version == 1
    assert found.pictures[0].decision is Decision.ALLOW
    assert (found.pictures[0].seconds, found.pictures[0].stopped_at, found.pictures[0].verdict) == (None,) * 3
    assert JobResult.parse({"verdicts": [VERDICT]}).verdicts[0].decision == "error"
    assert JobResult.parse({}) == JobResult()


def test_a_stored_result_has_a_version_and_only_set_fields() -> None:
    picture = GeneratedImage.model_validate(PICTURE)
    stored = JobResult.from_pictures([picture]).to_dict()
    assert stored == {"version": 2, "pictures": [PICTURE]}
    assert json.loads(json.dumps(stored)) == stored
    assert JobResult.parse(stored) == JobResult.from_pictures([picture])
    verdicts = JobResult.from_verdicts([PictureVerdict.model_validate(VERDICT)]).to_dict()
    assert verdicts == {"version": 2, "verdicts": [VERDICT]}
    assert JobResult.from_pictures([]).to_dict() == {"version": 2, "pictures": []}


def test_unknown_fields_are_ignored_and_a_newer_layout_is_refused() -> None:
    assert JobResult.parse({"version": 2, "pictures": [{**PICTURE, "colour": "red"}]}).pictures
    with pytest.raises(ValidationError):
        JobResult.parse({"version": 3})
