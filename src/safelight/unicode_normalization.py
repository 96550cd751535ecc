"""Unicode normalization of untrusted texts in linear time.

Python's own function sorts the combining marks of a letter by exchanging neighbours: 40,000 marks take eight seconds,
in which no other thread runs.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

NormalForm = Literal["NFC", "NFKC", "NFD", "NFKD"]

MAX_MARKS = 30
"""Combining marks of one letter that are kept: the limit of the Stream-Safe Text Format (UAX #15, section 13)."""
_PIECE_LENGTH = 1 << 16
"""Characters that are normalized at a time, so that other threads can run in between."""
_SEARCH_LENGTH = 64
"""Number of characters in which the end of a piece is searched."""


def normalize(form: NormalForm, text: str) -> str:
    """Normalize a text, dropping the combining marks beyond `MAX_MARKS` of one letter."""
    if text.isascii():
        return text
    text = _drop_excess_marks(text)
    done, start = [], 0
    while start < len(text):
        end = _find_split(text, start + _PIECE_LENGTH)
        done.append(unicodedata.normalize(form, text[start:end]))
        start = end
    return "".join(done)


def _drop_excess_marks(text: str) -> str:
    marks = "".join(re.escape(sign) for sign in sorted(set(text)) if _is_combining_mark(sign))
    if not marks:
        return text
    return re.sub(f"([{marks}]{{{MAX_MARKS}}})[{marks}]++", r"\1", text)


def _is_combining_mark(character: str) -> bool:
    """Whether a character, or its decomposition, is sorted among the combining marks of the letter before it."""
    return unicodedata.combining(unicodedata.normalize("NFKD", character)[0]) != 0


def _find_split(text: str, at: int) -> int:
    """The first position from ``at`` on where the text can be split; ``at`` itself if there is none nearby."""
    if at + _SEARCH_LENGTH >= len(text):
        return len(text)
    return next((place for place in range(at, at + _SEARCH_LENGTH) if _starts_cluster(text[place])), at)


def _starts_cluster(character: str) -> bool:
    """Whether a character never combines with the one before it."""
    first = unicodedata.normalize("NFKD", character)[0]
    vowel = (
        "\u1160" <= first <= "\u11ff" or "\U00016d63" <= first <= "\U00016d6a"
    )  # of Hangul and of Kirat Rai
    return not vowel and unicodedata.category(first)[0] != "M"
