"""Unicode's normal forms of texts that anybody may have written, in time that grows with their length.

Python's own function sorts the marks on a letter by exchanging neighbours: 40,000 marks take eight seconds, in which
no other thread runs.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

Form = Literal["NFC", "NFKC", "NFD", "NFKD"]

MOST_MARKS = 30
"""Marks on one letter that count; so many are allowed by Unicode's Stream-Safe Text Format (UAX #15, section 13)."""
_PIECE = 1 << 16
"""Characters that are taken at a time, so that other threads have their turn."""
_LOOK = 64
"""Characters in which a good end of a piece is looked for."""


def normalize(form: Form, text: str) -> str:
    """A text in a normal form, less the marks that go beyond `MOST_MARKS` on one letter."""
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
    """Whether it, or what it is taken apart to, is sorted among the marks on the letter before it."""
    return unicodedata.combining(unicodedata.normalize("NFKD", sign)[0]) != 0


def _end(text: str, at: int) -> int:
    """The first place from here on where what follows stays apart from what comes before; here, if none is near."""
    if at + _LOOK >= len(text):
        return len(text)
    return next((place for place in range(at, at + _LOOK) if _stands_alone(text[place])), at)


def _stands_alone(sign: str) -> bool:
    """Whether it never becomes one character with what stands before it."""
    first = unicodedata.normalize("NFKD", sign)[0]
    vowel = (
        "\u1160" <= first <= "\u11ff" or "\U00016d63" <= first <= "\U00016d6a"
    )  # of Hangul and of Kirat Rai
    return not vowel and unicodedata.category(first)[0] != "M"
