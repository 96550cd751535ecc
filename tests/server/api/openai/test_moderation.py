from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from openai.types import ModerationCreateResponse, ModerationModel

from safelight.errors import TextModerationError, UnsupportedFieldError
from safelight.moderation.blocklist import Blocklist
from safelight.moderation.classifiers.classifier import NetworkClassifier
from safelight.moderation.moderator import Moderator
from safelight.moderation.policy import Policy
from safelight.moderation.verdict import Verdict
from safelight.server.api.openai.moderation import (
    CATEGORIES,
    ModerationBody,
    ModerationInputs,
    check_inputs,
    moderation_inputs,
    moderation_response,
)
from safelight.server.api.openai_model_names import openai_model_kind

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}


@pytest.fixture(scope="module")
def verdict(open_nsfw: NetworkClassifier, photographs: list[Path]) -> Verdict:
    return Moderator(open_nsfw, Policy.load("standard")).judge(photographs[0])


def part(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def body(given: Any) -> ModerationBody:
    return ModerationBody.model_validate({"input": given})


@pytest.fixture(scope="module")
def flagged(open_nsfw: NetworkClassifier, photographs: list[Path]) -> Verdict:
    wary = Policy.parse(
        'name = "wary"\nversion = "1"\nsafe = ["sfw"]\n[unsafe.nsfw]\nreview = 0.0\nblock = 1.0\n'
    )
    return Moderator(open_nsfw, wary).judge(photographs[0])


@pytest.fixture
def words(tmp_path: Path) -> Blocklist:
    path = tmp_path / "words.txt"
    path.write_text("forbidden\n")
    return Blocklist.load(path)


def test_pictures_are_taken_in_their_order() -> None:
    other = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
    found = moderation_inputs(body([PICTURE, other]))
    assert found == ModerationInputs(("data:image/png;base64,aGk=", "https://example.org/cat.png"), ())


def test_a_list_of_texts_is_many_inputs_and_a_list_of_parts_is_one() -> None:
    assert moderation_inputs(body("a")).texts == (("a",),)
    assert moderation_inputs(body(["a", "b"])).texts == (("a",), ("b",))
    assert moderation_inputs(body([part("a"), part("b")])).texts == (("a", "b"),)
    assert moderation_inputs(body([part("a"), PICTURE, part("b")])).texts == (("a", "b"),)


@pytest.mark.parametrize("given", ["hello", ["hello", "there"], [{"type": "text", "text": "hello"}]])
def test_texts_alone_need_a_blocklist(given: Any, words: Blocklist) -> None:
    with pytest.raises(TextModerationError) as caught:
        check_inputs(moderation_inputs(body(given)), None)
    assert (caught.value.field, caught.value.code) == ("input", "moderation.text_unjudged")
    assert "text_blocklist" in caught.value.hint
    check_inputs(moderation_inputs(body(given)), words)
    check_inputs(moderation_inputs(body([PICTURE])), None)


@pytest.mark.parametrize("given", [[], [PICTURE] * 65])
def test_inputs_are_limited(given: Any) -> None:
    with pytest.raises(UnsupportedFieldError, match="1 to 64"):
        moderation_inputs(body(given))


def test_texts_are_judged_by_the_blocklist(words: Blocklist) -> None:
    sent = moderation_response(moderation_inputs(body(["Forbidden!", "allowed"])), [], words).model_dump()
    first, second = ModerationCreateResponse.model_validate(sent).results
    assert (first.flagged, first.categories.sexual, first.category_scores.sexual) == (True, True, 1.0)
    assert (second.flagged, second.categories.sexual, second.category_scores.sexual) == (False, False, 0.0)
    assert [each.category_applied_input_types.sexual for each in (first, second)] == [["text"]] * 2
    told = {"list": "words.txt", "digest": words.digest, "hit": True}
    assert (sent["model"], sent["results"][0]["verdict"]) == ("text-blocklist", {"text": told})


def test_a_picture_and_its_text_are_one_result(verdict: Verdict, words: Blocklist) -> None:
    (item,) = moderation_response(
        moderation_inputs(body([part("forbidden"), PICTURE])), [verdict], words
    ).results
    assert (item.flagged, item.category_scores["sexual"], item.unjudged) == (True, 1.0, [])
    assert item.category_applied_input_types["sexual"] == ["text", "image"]
    assert item.verdict["classifier"] == verdict.to_dict()["classifier"]
    (clean,) = moderation_response(
        moderation_inputs(body([part("allowed"), PICTURE])), [verdict], words
    ).results
    assert (clean.flagged, clean.category_scores["sexual"]) == (False, pytest.approx(verdict.unsafe))


def test_an_allowed_picture_does_not_clear_its_text(verdict: Verdict, flagged: Verdict) -> None:
    both = moderation_inputs(body([part("hello"), PICTURE, PICTURE]))
    for verdicts in ([verdict, verdict], [flagged, verdict]):
        with pytest.raises(TextModerationError):
            moderation_response(both, verdicts, None)


def test_a_flagged_picture_is_flagged_whatever_its_text(flagged: Verdict) -> None:
    (item,) = moderation_response(moderation_inputs(body([part("hello"), PICTURE])), [flagged], None).results
    assert (item.flagged, item.unjudged) == (True, ["text"])


def test_texts_beside_pictures_may_be_skipped_and_are_reported(verdict: Verdict) -> None:
    (item,) = moderation_response(
        moderation_inputs(body([part("hello"), PICTURE])), [verdict], None, skip_texts=True
    ).results
    assert (item.flagged, item.unjudged) == (False, ["text"])
    assert item.category_applied_input_types["sexual"] == ["image"]


@pytest.mark.parametrize("name", get_args(ModerationModel))
def test_openai_model_names_mean_the_configured_classifier(name: str) -> None:
    assert ModerationBody(input="x", model=name).classifier is None
    assert ModerationBody(input="x", model="mine").classifier == "mine"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("omni-moderation-2030-01-01", "classifier"),
        ("text-moderation-007", "classifier"),
        ("gpt-image-1-mini", "checkpoint"),
        ("dall-e-2", "checkpoint"),
        ("gpt-image-", None),
        ("my-dall-e-2", None),
        ("dall-e-2/x", None),
        ("gpt-4o", None),
    ],
)
def test_names_of_openais_models(name: str, kind: str | None) -> None:
    assert openai_model_kind(name) == kind


def test_the_response_parses_with_openais_client(verdict: Verdict) -> None:
    sent = moderation_response(moderation_inputs(body([PICTURE] * 2)), [verdict, verdict], None).model_dump()
    read = ModerationCreateResponse.model_validate(sent)
    assert (read.model, len(read.results)) == ("open-nsfw", 2)
    first = read.results[0]
    assert not first.flagged
    assert not first.categories.sexual
    assert first.category_scores.sexual == pytest.approx(verdict.unsafe)
    assert first.category_applied_input_types.sexual == ["image"]
    assert sent["results"][0]["verdict"] == verdict.to_dict()


def test_categories_that_are_not_judged_are_marked(verdict: Verdict) -> None:
    item = moderation_response(moderation_inputs(body([PICTURE])), [verdict], None).results[0]
    assert set(item.categories) == set(item.category_scores) == set(CATEGORIES)
    others = [name for name in CATEGORIES if name != "sexual"]
    assert not any(item.category_applied_input_types[name] for name in others)
    assert not any(item.categories[name] for name in others)


def test_every_decision_but_allow_is_flagged(flagged: Verdict) -> None:
    item = moderation_response(moderation_inputs(body([PICTURE])), [flagged], None).results[0]
    assert item.flagged
    assert item.categories["sexual"]
