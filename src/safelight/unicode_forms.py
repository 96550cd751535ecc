"""Unicode normalization of untrusted texts in linear time.

Python's own function sorts the combining marks of a letter by exchanging neighbours: 40,000 marks take eight seconds,
in which no other thread runs.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

Form = Literal["NFC", "NFKC", "NFD", "NFKD"]

MOST_MARKS = 30
"""Combining marks of one letter that are kept: the limit of the Stream-Safe Text Format (UAX #15, section 13)."""
_PIECE = 1 << 16
"""Characters that are normalized at a time, so that other threads can run in between."""
_LOOK = 64
"""Number of characters in which the end of a piece is searched."""


def normalize(form: Form, text: str) -> str:
    """Normalize a text, dropping the combining marks beyond `MOST_MARKS` of one letter."""
    if text.isascii():
        return text
    text = _with_few_marks(text)
    done, start = [], 0
    while start < len(text):
        end = _end(text, start + _PIECE)
        done.append(unicodedata.normalize(form, text[start:end]))
        start = end
    return "".join(done)


def _with_few_marks(text: str) -> str:
    marks = "".join(re.escape(sign) for sign in sorted(set(text)) if _is_mark(sign))
    if not marks:
        return text
    return re.sub(f"([{marks}]{{{MOST_MARKS}}})[{marks}]++", r"\1", text)


def _is_mark(sign: str) -> bool:
    """Whether a character, or its decomposition, is sorted among the combining marks of the letter before it."""
    return unicodedata.combining(unicodedata.normalize("NFKD", sign)[0]) != 0


def _end(text: str, at: int) -> int:
    """The first position from ``at`` on where the text can be split; ``at`` itself if there is none nearby."""
    if at + _LOOK >= len(text):
        return len(text)
    return next((place for place in range(at, at + _LOOK) if _stands_alone(text[place])), at)


def _stands_alone(sign: str) -> bool:
    """Whether a character never combines with the one before it."""
    first = unicodedata.normalize("NFKD", sign)[0]
    vowel = (
        "\u1160" <= first <= "\u11ff" or "\U00016d63" <= first <= "\U00016d6a"
    )  # of Hangul and of Kirat Rai
    return not vowel and unicodedata.category(first)[0] != "M"
