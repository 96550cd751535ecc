"""The words of texts and queries, the same for both databases."""

from __future__ import annotations

import re
import unicodedata

from safelight.unicode_normalization import normalize

_TOKEN = re.compile(r"[^\W_]+")
_IDEOGRAPH = re.compile("([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])")
"""Kana and ideographs: they are written without spaces, so each is a token."""
_MAX_TOKEN_LENGTH, _MAX_TOKENS = 64, 4000


def tokenize(given: str) -> list[str]:
    """The tokens of a text, without case and accents: at most 4,000, each cut after 64 characters."""
    plain = given.casefold()
    if not plain.isascii():
        # Fold case again in between: a mathematical bold A becomes an A only by decomposition.
        plain = normalize("NFKD", normalize("NFKD", given).casefold())
        plain = "".join(mark for mark in plain if not unicodedata.combining(mark))
    return [word[:_MAX_TOKEN_LENGTH] for word in _TOKEN.findall(_IDEOGRAPH.sub(r" \1 ", plain))][:_MAX_TOKENS]
