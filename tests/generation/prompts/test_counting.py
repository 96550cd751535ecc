from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from safelight.generation.prompts import explain, parse
from safelight.generation.prompts.counting import count
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
