from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import PromptError, RequestError
from safelight.generation.prompts import (
    Break,
    ParsedPrompt,
    Segment,
    Segments,
    parse_prompt,
    plain_text,
    prompt_phases,
    schedule,
    segments_at,
)
from safelight.generation.prompts.schedule import is_scheduled, is_weighted

pieces = st.sampled_from(["(", ")", "[", "]", ":", "|", "1.2", "3", ".5", "a", "b", " BREAK "])
prompts = st.lists(pieces, max_size=30).map("".join)


@pytest.mark.parametrize(
    ("when", "first"),
    [
        ("0", 0),
        ("1", 1),
        ("19", 19),
        ("20", None),
        ("99", None),
        ("-3", 0),
        ("0.0", 0),
        ("0.5", 10),
        (".26", 5),
        ("0.99", 19),
        ("1.0", None),
        ("1.5", None),
        ("999999999.0", None),
    ],
)
def test_numbers_with_a_point_are_fractions_and_others_steps(when: str, first: int | None) -> None:
    found = prompt_phases(parse_prompt(f"[a:b:{when}]"), 20)
    expected = [(0, "a"), (first, "b")] if first else [(0, "b" if first == 0 else "a")]
    assert [
        (phase.first_step, plain_text(parse_prompt(f"[a:b:{when}]"), phase.first_step, 20)) for phase in found
    ] == expected


@pytest.mark.parametrize(
    ("when", "first"),
    [("0.5", 0), ("1.0", 0), ("1.5", 5), ("2.0", None), ("15", 0), ("20", 0), ("24", 4), ("30", None)],
)
def test_a_second_pass_continues_after_the_first(when: str, first: int | None) -> None:
    """20 steps were before it; these are 10."""
    texts = [plain_text(parse_prompt(f"[a:b:{when}]"), step, 10, previous_steps=20) for step in range(10)]
    assert texts == ["a"] * (10 if first is None else first) + ["b"] * (0 if first is None else 10 - first)


def test_alternatives_alternate() -> None:
    texts = [plain_text(parse_prompt("a [x|y|z|] b"), step, 9) for step in range(9)]
    assert texts == ["a x b", "a y b", "a z b", "a  b", "a x b", "a y b", "a z b", "a  b", "a x b"]


def test_schedules_and_alternations_nest() -> None:
    prompt = parse_prompt("([[x|y]:z:0.5]:2)")
    assert [segments_at(prompt, step, 4) for step in range(4)] == [(Segment(c, 2.0),) for c in "xyzz"]


def test_equal_neighbours_are_one_phase() -> None:
    assert [phase.first_step for phase in prompt_phases(parse_prompt("[a:a:3] [b|b]"), 10)] == [0]
    assert [phase.first_step for phase in prompt_phases(parse_prompt("[a|a|b]"), 6)] == [0, 2, 3, 5]


def test_only_steps_at_which_the_prompt_may_change_are_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    original = schedule.segments_at

    def look(parsed: ParsedPrompt, step: int, steps: int, *, previous_steps: int = 0) -> Segments:
        looked.append(step)
        return original(parsed, step, steps, previous_steps=previous_steps)

    monkeypatch.setattr(schedule, "segments_at", look)
    for prompt, steps in [
        ("a (b:2)", [0]),
        ("[a:[b:c:0.5]:3] (d[e:9999])", [0, 3, 500]),
        ("[a|b]", [0, 1, 2]),
    ]:
        looked.clear()
        prompt_phases(parse_prompt(prompt), 3 if "|" in prompt else 1000)
        assert looked == steps


def test_a_break_separates_segments() -> None:
    segments = segments_at(parse_prompt("a (b BREAK c) BREAK"), 0, 1)
    assert segments == (Segment("a "), Segment("b", 1.1), Break(), Segment("c", 1.1), Break())
    assert plain_text(parse_prompt("a, BREAK (b:2) c"), 0, 1) == "a, b c"


def test_properties_of_a_prompt() -> None:
    assert is_scheduled(parse_prompt("(a [b:3])"))
    assert is_scheduled(parse_prompt("[a|b]"))
    assert not is_scheduled(parse_prompt("(a [b]) BREAK"))
    assert is_weighted(segments_at(parse_prompt("a (b)"), 0, 1))
    assert not is_weighted(segments_at(parse_prompt("a (b:1) BREAK c"), 0, 1))


@pytest.mark.parametrize(("step", "steps", "earlier"), [(-1, 5, 0), (0, 0, 0), (0, 5, -1)])
def test_invalid_steps(step: int, steps: int, earlier: int) -> None:
    with pytest.raises(RequestError, match="steps are counted from 0"):
        segments_at(parse_prompt("a"), step, steps, previous_steps=earlier)


def test_no_steps_have_no_phases() -> None:
    with pytest.raises(RequestError):
        prompt_phases(parse_prompt("a"), 0)


@given(text=prompts, steps=st.integers(1, 30), earlier=st.integers(0, 30))
def test_phases_agree_with_every_single_step(text: str, steps: int, earlier: int) -> None:
    try:
        prompt = parse_prompt(text)
    except PromptError:
        return
    found = prompt_phases(prompt, steps, previous_steps=earlier)
    assert found[0].first_step == 0
    for step in range(steps):
        current = [phase for phase in found if phase.first_step <= step][-1]
        segments = segments_at(prompt, step, steps, previous_steps=earlier)
        assert current.segments == segments
        words = [part for part in segments if isinstance(part, Segment)]
        assert all(part.text and 0 < part.weight < float("inf") for part in words)
    assert all(a.segments != b.segments for a, b in pairwise(found))
