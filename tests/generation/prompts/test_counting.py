from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from safelight.generation.prompts import counting, explain, parse, phases, plain_text
from safelight.generation.prompts.counting import MOST_PHASES, count
from safelight.models.checkpoints import STARTER_FOLDER
from safelight.models.clip_tokens import ClipSource, ClipTokens

PROMPTS = [
    "",
    "a (red:1.2) apple, 3d style",
    "a cat BREAK a dog",
    "BREAK",
    "[a:a very much longer prompt:0.5]",
    "[a cat|a big dog|x], {a|b}, __animals__",
    ", ".join(["a very long prompt of many words"] * 30),
    "🐈 猫 <|endoftext|> don't 12",
]


@pytest.fixture(scope="module")
def ours() -> ClipTokens:
    return ClipSource(STARTER_FOLDER / "tokenizer").open()


@pytest.fixture(scope="module")
def real() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(STARTER_FOLDER / "tokenizer")


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("steps", [1, 20])
def test_counts_are_those_of_what_is_drawn(
    prompt: str, steps: int, ours: ClipTokens, real: CLIPTokenizer
) -> None:
    explanation = explain(prompt, steps, real)
    found = count(parse(prompt), steps, [ours])
    assert found.room == explanation.room == 46
    assert found.tokens == max(sum(map(len, chunks)) for chunks in explanation.chunks)
    assert found.chunks == max(map(len, explanation.chunks))


@given(text=st.text(max_size=80))
def test_the_same_tokens_for_any_text(text: str, ours: ClipTokens, real: CLIPTokenizer) -> None:
    options = {"add_special_tokens": False, "verbose": False}
    assert ours(text, **options)["input_ids"] == real(text, **options)["input_ids"]


def test_of_several_text_encoders_the_longest_counts(ours: ClipTokens) -> None:
    clip = ClipSource(None).open()
    alone = [count(parse(PROMPTS[6]), 1, [each]) for each in (ours, clip)]
    both = count(parse(PROMPTS[6]), 1, [ours, clip])
    assert both.tokens == max(each.tokens for each in alone)
    assert both.chunks == max(each.chunks for each in alone)


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch, ours: ClipTokens) -> Callable[[], int]:
    """How many prompts were cut into tokens so far."""
    cut: list[Any] = []
    original = counting.chunked
    monkeypatch.setattr(counting, "chunked", lambda *given: cut.append(given) or original(*given))
    return lambda: len(cut)


@pytest.mark.parametrize(
    "prompt",
    [
        "".join(f"[a :b :{number}]" for number in range(1, 800)),
        "".join(f"[:word :{number}]" for number in range(1, 700)),
        "".join(f"[word ::{number}]" for number in range(1, 700)),
        "[a |b |c ][a |b |c |d |e ][a |b |c |d |e |f |g ][many long words|word]",
    ],
)
def test_of_very_many_phases_those_with_the_most_characters_are_counted(
    prompt: str, ours: ClipTokens, cut: Callable[[], int]
) -> None:
    parsed = parse(prompt)
    found = count(parsed, 1000, [ours])
    assert cut() == MOST_PHASES
    ends = [plain_text(parsed, step, 1000) for step in (0, 999)]
    assert found.tokens == max(
        len(ours(each, add_special_tokens=False, verbose=False)["input_ids"]) for each in ends
    )


def test_few_phases_are_all_counted(ours: ClipTokens, cut: Callable[[], int]) -> None:
    parsed = parse("[a|b] [some words:none:0.5] [x|y]")
    count(parsed, 1000, [ours, ours])
    assert cut() == 2 * len({phase.segments for phase in phases(parsed, 1000)}) == 8
