from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from safelight.errors import PromptError
from safelight.generation.prompts import explain_prompt, parse_prompt, plain_text, prompt_phases, token_count
from safelight.generation.prompts.schedule import segments_at
from safelight.generation.prompts.token_count import MAX_PHASES, count_tokens, max_phases
from safelight.generation.prompts.tree import Break
from safelight.models.checkpoints.discovery import STARTER_PATH
from safelight.models.tokenizers.clip_tokenizer import ClipTokenizer, TokenizerSource

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
def ours() -> ClipTokenizer:
    return TokenizerSource(STARTER_PATH / "tokenizer").open()


@pytest.fixture(scope="module")
def real() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(STARTER_PATH / "tokenizer")


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("steps", [1, 20])
def test_counts_equal_those_of_generation(
    prompt: str, steps: int, ours: ClipTokenizer, real: CLIPTokenizer
) -> None:
    explanation = explain_prompt(prompt, steps, real)
    found = count_tokens(parse_prompt(prompt), steps, [ours])
    assert found.chunk_capacity == explanation.chunk_capacity == 46
    assert found.tokens == max(sum(map(len, chunks)) for chunks in explanation.chunks)
    assert found.chunks == max(map(len, explanation.chunks))


@given(text=st.text(max_size=80))
def test_the_same_tokens_for_any_text(text: str, ours: ClipTokenizer, real: CLIPTokenizer) -> None:
    options = {"add_special_tokens": False, "verbose": False}
    assert ours(text, **options)["input_ids"] == real(text, **options)["input_ids"]


def test_with_several_text_encoders_the_longest_counts(ours: ClipTokenizer) -> None:
    clip = TokenizerSource(None).open()
    alone = [count_tokens(parse_prompt(PROMPTS[6]), 1, [each]) for each in (ours, clip)]
    both = count_tokens(parse_prompt(PROMPTS[6]), 1, [ours, clip])
    assert both.tokens == max(each.tokens for each in alone)
    assert both.chunks == max(each.chunks for each in alone)


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch, ours: ClipTokenizer) -> Callable[[], int]:
    """The number of prompts that were tokenized so far."""
    cut: list[Any] = []
    original = token_count.split_into_chunks
    monkeypatch.setattr(
        token_count, "split_into_chunks", lambda *given: cut.append(given) or original(*given)
    )
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
    prompt: str, ours: ClipTokenizer, cut: Callable[[], int]
) -> None:
    parsed = parse_prompt(prompt)
    found = count_tokens(parsed, 1000, [ours])
    assert 2 <= cut() <= max_phases(prompt) <= MAX_PHASES
    ends = [plain_text(parsed, step, 1000) for step in (0, 999)]
    assert found.tokens == max(
        len(ours(each, add_special_tokens=False, verbose=False)["input_ids"]) for each in ends
    )


@given(
    prompt=st.text("ab [](:|).05 ", max_size=60),
    steps=st.integers(1, 40),
)
@example(prompt="[a|[bb|c|[ddd|]]:e:0.5][f|g][h|i|j]", steps=40)
@example(prompt="[[a|bb|ccc]|[d|ee|[f:ggg:7]]]", steps=37)
def test_lengths_equal_those_of_generation(prompt: str, steps: int) -> None:
    try:
        parsed = parse_prompt(prompt)
    except PromptError:
        return
    words = [plain_text(parsed, step, steps) for step in range(steps)]
    breaks = [
        sum(isinstance(part, Break) for part in segments_at(parsed, step, steps)) for step in range(steps)
    ]
    assert not any(breaks)
    assert list(token_count._text_lengths(parsed, steps)) == [len(each) for each in words]
    phases_found = {segments_at(parsed, step, steps) for step in token_count._distinct_steps(parsed, steps)}
    assert phases_found == {segments_at(parsed, step, steps) for step in range(steps)}


@pytest.mark.parametrize(
    "prompt", ["[a|b]" * 2000, "[a|b][a|b|c][a|b|c|d|e][a|b|c|d|e|f|g][a|b|c|d|e|f|g|h]" * 180]
)
def test_time_does_not_grow_with_prompt_times_steps(
    prompt: str, ours: ClipTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed, put_together = parse_prompt(prompt[:10_000]), []
    original = token_count.segments_at
    monkeypatch.setattr(
        token_count, "segments_at", lambda *given: put_together.append(given) or original(*given)
    )
    assert count_tokens(parsed, 1000, [ours]).tokens >= 2000 / 18
    assert len(put_together) <= 2


def test_few_phases_are_all_counted(ours: ClipTokenizer, cut: Callable[[], int]) -> None:
    parsed = parse_prompt("[a|b] [some words:none:0.5] [x|y]")
    count_tokens(parsed, 1000, [ours, ours])
    assert cut() == 2 * len({phase.segments for phase in prompt_phases(parsed, 1000)}) == 8
