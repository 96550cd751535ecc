from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from openai.types import ModerationCreateResponse

from safelight.errors import FieldError
from safelight.moderation.classifier import NetworkClassifier
from safelight.moderation.moderator import Moderator
from safelight.moderation.policy import Policy
from safelight.moderation.verdict import Verdict
from safelight.server.compat.openai_moderation import CATEGORIES, ModerationBody, addresses, answer

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}


@pytest.fixture(scope="module")
def verdict(open_nsfw: NetworkClassifier, photographs: list[Path]) -> Verdict:
    return Moderator(open_nsfw, Policy.load("standard")).judge(photographs[0])


def body(given: Any) -> ModerationBody:
    return ModerationBody.model_validate({"input": given})


def test_pictures_are_taken_in_their_order() -> None:
    other = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
    assert addresses(body([PICTURE, other])) == ["data:image/png;base64,aGk=", "https://example.org/cat.png"]


@pytest.mark.parametrize("given", ["hello", ["hello", "there"], [PICTURE, {"type": "text", "text": "hello"}]])
def test_texts_are_refused_even_beside_pictures(given: Any) -> None:
    with pytest.raises(FieldError, match="texts are not judged") as caught:
        addresses(body(given))
    assert caught.value.field == "input"


@pytest.mark.parametrize("given", [[], [PICTURE] * 65])
def test_there_are_bounds(given: Any) -> None:
    with pytest.raises(FieldError, match="1 to 64"):
        addresses(body(given))


def test_the_answer_is_what_the_client_reads(verdict: Verdict) -> None:
    sent = answer([verdict, verdict]).model_dump()
    read = ModerationCreateResponse.model_validate(sent)
    assert (read.model, len(read.results)) == ("open-nsfw", 2)
    first = read.results[0]
    assert not first.flagged
    assert not first.categories.sexual
    assert first.category_scores.sexual == pytest.approx(verdict.unsafe)
    assert first.category_applied_input_types.sexual == ["image"]
    assert sent["results"][0]["verdict"] == verdict.to_dict()


def test_what_is_not_judged_says_so(verdict: Verdict) -> None:
    item = answer([verdict]).results[0]
    assert set(item.categories) == set(item.category_scores) == set(CATEGORIES)
    others = [name for name in CATEGORIES if name != "sexual"]
    assert not any(item.category_applied_input_types[name] for name in others)
    assert not any(item.categories[name] for name in others)


def test_what_the_policy_does_not_allow_is_flagged(
    open_nsfw: NetworkClassifier, photographs: list[Path]
) -> None:
    wary = Policy.parse(
        'name = "wary"\nversion = "1"\nsafe = ["sfw"]\n[unsafe.nsfw]\nreview = 0.0\nblock = 1.0\n'
    )
    item = answer([Moderator(open_nsfw, wary).judge(photographs[0])]).results[0]
    assert item.flagged
    assert item.categories["sexual"]
