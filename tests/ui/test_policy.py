"""The page's policy rule against the server's: the same decision for the same scores, with any policy."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from playwright.sync_api import Page

from safelight.errors import PolicyLabelError
from safelight.moderation import PRESETS, Policy
from safelight.moderation.policy import Thresholds
from safelight.server.api.native.policies import _rules

LABELS = (
    "nsfw", "NSFW", "sfw", "Porn", "hentai", "SEXY", "Été", "ΣΑΣ", "İstanbul", "ẞ", "constructor", "__proto__",
)  # fmt: skip
ROUND = [number / 20 for number in range(21)]
CASES = 4000
ASK = """async ([url, cases]) => {
  const { decide, fits, unsafeScore } = await import(url);
  return JSON.parse(cases).map(([policy, scores]) => {
    if (!fits(Object.keys(scores), policy)) return null;
    return { decision: decide(scores, policy), unsafe: unsafeScore(scores, policy) };
  });
}"""

Case = tuple[Policy, dict[str, float]]


def number(chance: random.Random) -> float:
    """A round number half of the time, so that scores lie exactly on thresholds too."""
    return chance.choice(ROUND) if chance.random() < 0.5 else chance.random()


def a_policy(chance: random.Random, labels: list[str]) -> Policy:
    names = list({label.lower() for label in labels})
    chance.shuffle(names)
    unsafe = names[: chance.randint(1, len(names))]
    known = names[len(unsafe) :] if chance.random() < 0.9 else names[len(unsafe) + 1 :]
    thresholds = (sorted((number(chance), number(chance))) for _ in unsafe)
    return Policy(
        name="t",
        version="1",
        abstain=chance.choice([0.0, 0.05, 0.5, chance.random() / 2]),
        unsafe={
            name: Thresholds(review=low, block=high)
            for name, (low, high) in zip(unsafe, thresholds, strict=True)
        },
        safe=frozenset(known),
    )


def a_score(chance: random.Random, policy: Policy, label: str) -> float:
    """Any score, or one that lies exactly on a threshold of the policy."""
    if chance.random() < 0.02:
        return float("nan")
    thresholds = policy.unsafe.get(label.lower())
    if thresholds is None or chance.random() < 0.6:
        return number(chance)
    block = thresholds.block
    edges = [thresholds.review, block, block - policy.abstain, block + policy.abstain]
    return min(1.0, max(0.0, chance.choice(edges)))


def cases() -> list[Case]:
    chance = random.Random(20)
    found: list[Case] = []
    while len(found) < CASES:
        labels = chance.sample(LABELS, chance.randint(1, 6))
        policy = Policy.load(chance.choice(PRESETS)) if chance.random() < 0.1 else a_policy(chance, labels)
        found.append((policy, {label: a_score(chance, policy, label) for label in labels}))
    return found


def as_json_scores(case: Case) -> list[Any]:
    """The scores as the page gets them: NaN is null."""
    policy, scores = case
    sent = {label: None if score != score else score for label, score in scores.items()}
    return [_rules(policy, default=False).model_dump(mode="json"), sent]


def expected(case: Case) -> dict[str, Any] | None:
    policy, scores = case
    try:
        policy.check_labels(tuple(scores))
    except PolicyLabelError:
        return None
    return {
        "decision": policy.decide(scores).value,
        "unsafe": pytest.approx(policy.unsafe_score(scores), abs=1e-12),
    }


@pytest.fixture
def blank(page: Page, static_url: str) -> Page:
    page.route(
        f"{static_url}/blank", lambda route: route.fulfill(body="<!doctype html>", content_type="text/html")
    )
    page.goto(f"{static_url}/blank")
    return page


def test_page_and_server_decide_the_same(blank: Page, static_url: str) -> None:
    given = cases()
    wire = json.dumps([as_json_scores(case) for case in given])
    answers = blank.evaluate(ASK, [f"{static_url}/policy.js", wire])
    for case, answer in zip(given, answers, strict=True):
        assert answer == expected(case), case
    assert {answer and answer["decision"] for answer in answers} == {None, "allow", "review", "block"}


def test_a_moved_threshold_moves_the_other(blank: Page, static_url: str) -> None:
    policy = _rules(Policy.load("standard"), default=True).model_dump(mode="json")
    moved = blank.evaluate(
        """async ([url, policy]) => {
          const { sameRules, withThreshold } = await import(url);
          const up = withThreshold(policy, "nsfw", "review", 0.9);
          const down = withThreshold(policy, "nsfw", "block", 0.1);
          const back = withThreshold(withThreshold(policy, "nsfw", "block", 0.85), "nsfw", "block", 0.8);
          return [up.unsafe.nsfw, down.unsafe.nsfw, sameRules(up, policy), sameRules(back, policy), policy.unsafe.nsfw];
        }""",
        [f"{static_url}/policy.js", policy],
    )
    assert moved == [
        {"review": 0.9, "block": 0.9},
        {"review": 0.1, "block": 0.1},
        False,
        True,
        {"review": 0.4, "block": 0.8},
    ]
