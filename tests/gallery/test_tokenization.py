from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from safelight.gallery.tokenization import tokenize


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("A red Apple, 3d style", ["a", "red", "apple", "3d", "style"]),
        ("(masterpiece:1.2) <lora:ink_v2:0.8>", ["masterpiece", "1", "2", "lora", "ink", "v2", "0", "8"]),
        ("Crème brûlée, Straße", ["creme", "brulee", "strasse"]),
        ("\uff26\uff35\uff2c\uff2c width", ["full", "width"]),
        ("猫とdog", ["猫", "と", "dog"]),
        ("красный закат", ["красныи", "закат"]),  # й is и with a combining mark
        ("\"' AND * \0 ;--", ["and"]),
        ("🍎🍏", []),
        ("x" * 100, ["x" * 64]),
    ],
)
def test_text_is_split_into_words(text: str, found: list[str]):
    assert tokenize(text) == found


@given(st.text())
@example("\U0001d468")  # a bold italic A, which is a capital only after normalisation
def test_splitting_is_idempotent(text: str):
    found = tokenize(text)
    assert tokenize(" ".join(found)) == found
    assert all(word.isalnum() for word in found)


def test_the_number_of_words_is_limited():
    assert len(tokenize("word " * 10_000)) == 4000
