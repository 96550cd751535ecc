from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from safelight.generation.prompts import parse_prompt, segments_at
from safelight.generation.prompts.chunks import Chunk, chunk_capacity, split_into_chunks


def chunks_of(text: str, tokenizer: CLIPTokenizer) -> tuple[Chunk, ...]:
    return split_into_chunks(segments_at(parse_prompt(text), 0, 1), tokenizer)


def weighted_text(text: str, tokenizer: CLIPTokenizer) -> list[str]:
    return [tokenizer.decode(list(chunk.ids)) for chunk in chunks_of(text, tokenizer)]


def test_the_capacity_excludes_the_special_tokens(
    tokenizer: CLIPTokenizer, make_tokenizer: Callable[..., CLIPTokenizer]
) -> None:
    assert chunk_capacity(tokenizer) == 14
    assert chunk_capacity(make_tokenizer(77)) == 75


def test_an_empty_prompt_is_one_empty_chunk(tokenizer: CLIPTokenizer) -> None:
    assert chunks_of("", tokenizer) == (Chunk((), ()),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat " * 14, ["cat " * 14]),
        ("cat " * 15, ["cat " * 14, "cat"]),
        ("cat " * 30, ["cat " * 14, "cat " * 14, "cat cat"]),
        ("cat " * 10 + ", dog dog dog dog", ["cat " * 10 + ",", "dog dog dog dog"]),
        ("cat, dog, " + "sun " * 13, ["cat, dog, " + "sun " * 10, "sun " * 3]),
        ("cat " * 14 + ", dog", ["cat " * 14, ", dog"]),
        ("cat " * 13 + ", dog", ["cat " * 13 + ",", "dog"]),
        ("cat " * 10 + ", dog dog dog, sun", ["cat " * 10 + ", dog dog dog", ", sun"]),
        ("cat BREAK dog", ["cat", "dog"]),
        ("cat BREAK", ["cat"]),
        ("BREAK cat", ["", "cat"]),
        ("cat BREAK BREAK dog", ["cat", "", "dog"]),
        ("cat " * 14 + "BREAK dog", ["cat " * 14, "dog"]),
    ],
)
def test_where_chunks_end(tokenizer: CLIPTokenizer, text: str, expected: list[str]) -> None:
    """A comma within 7 tokens, half of this short chunk, moves its phrase to the next chunk."""
    assert [each.replace(" ,", ",") for each in weighted_text(text, tokenizer)] == [
        each.strip().replace(" ,", ",") for each in expected
    ]


def test_a_comma_is_searched_twenty_tokens_back(make_tokenizer: Callable[..., CLIPTokenizer]) -> None:
    tokenizer = make_tokenizer(77)
    assert [len(chunk.ids) for chunk in chunks_of("cat " * 55 + ", " + "dog " * 30, tokenizer)] == [56, 30]
    assert [len(chunk.ids) for chunk in chunks_of("cat " * 54 + ", " + "dog " * 30, tokenizer)] == [75, 10]


def test_weights_stay_with_their_tokens(tokenizer: CLIPTokenizer) -> None:
    first, second = chunks_of("cat " * 10 + ", (dog:1.5) sun (hat:0.5) red", tokenizer)
    assert first.weights == (1.0,) * 11
    assert second.weights == (1.5, 1.0, 0.5, 1.0)


def test_the_vectors_of_a_textual_inversion_stay_together(
    make_tokenizer: Callable[..., CLIPTokenizer],
) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<own>", "<own>_1", "<own>_2", "<single>"])
    ids = [tokenizer.convert_tokens_to_ids(name) for name in ("<own>", "<own>_1", "<own>_2", "<single>")]
    (chunk,) = chunks_of("cat (<own>:2) <single>", tokenizer)
    assert chunk.ids[1:] == tuple(ids)
    assert chunk.weights == (1.0, 2.0, 2.0, 2.0, 1.0)
    first, second = chunks_of("cat " * 12 + "<own> dog", tokenizer)
    assert len(first.ids) == 12
    assert second.ids[:3] == tuple(ids[:3])


def test_a_textual_inversion_longer_than_a_chunk(make_tokenizer: Callable[..., CLIPTokenizer]) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<long>", *(f"<long>_{i}" for i in range(1, 20))])
    assert [len(chunk.ids) for chunk in chunks_of("<long>", tokenizer)] == [14, 6]


@given(
    text=st.lists(st.sampled_from(["cat", "dog", ",", "é", "(sun:1.3)", "xyz"]), max_size=60).map(" ".join)
)
def test_no_token_is_lost(tokenizer: CLIPTokenizer, text: str) -> None:
    chunks = chunks_of(text, tokenizer)
    bare = text.replace("(", "").replace(":1.3)", "")
    assert [i for chunk in chunks for i in chunk.ids] == tokenizer(bare, add_special_tokens=False).input_ids
    assert all(0 < len(chunk.ids) == len(chunk.weights) <= 14 for chunk in chunks) or not bare
