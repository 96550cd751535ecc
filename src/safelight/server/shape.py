"""The shape of JSON before it is parsed: a small body can become a large tree of objects."""

from __future__ import annotations

import re

from safelight.errors import BodyInvalidError

MAX_DEPTH, MAX_VALUES = 64, 200_000
"""How deep JSON may be nested, and how many values it may have."""
MAX_QUOTES = 4 * MAX_VALUES
"""A value has at most two strings, its name and itself."""
MAX_ESCAPES = 4_000_000
"""Backslashes; base64 of the largest request has so many if it is broken into lines and its slashes are escaped."""
_OUTSIDE_STRINGS = re.compile(rb'"[^"]*+"?|[\[{\]}]')
_SURROGATES = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>[89a-fA-F]))"
)


def complaint_about_json(data: bytes) -> BodyInvalidError | None:
    """What is wrong with JSON before it is parsed, if anything is: encoding, number of values, depth, surrogates.

    Counts first, which is quick even where there are many megabytes of base64 in it; what follows takes no longer
    than so many values can take.
    """
    if b"\0" in data or not _is_utf8(data):  # UTF-16 and UTF-32, which Python's parser would take, have zeros
        return BodyInvalidError("The request's JSON is not in UTF-8.")
    if any(data.count(sign) > MAX_VALUES for sign in b",[]{}") or data.count(b'"') > MAX_QUOTES:
        return BodyInvalidError(f"The request has more than {MAX_VALUES} values.")
    escapes = data.count(b"\\")
    surrogates = data.count(b"\\ud") + data.count(b"\\uD") if escapes else 0
    if escapes > MAX_ESCAPES or surrogates > MAX_VALUES:
        return BodyInvalidError("The request has too many escapes: send text as it is, in UTF-8.")
    if escapes:
        data = data.replace(b"\\\\", b"__").replace(b'\\"', b"__")  # from here on a quote is a string's end
        if surrogates and any(found["lone"] for found in _SURROGATES.finditer(data)):
            return BodyInvalidError("The request's text has half a character in it: a lone surrogate.")
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _deepest(data) > MAX_DEPTH:
        return BodyInvalidError(f"The request is nested deeper than {MAX_DEPTH} levels.")
    return None


def _is_utf8(data: bytes) -> bool:
    """Whether it is; Python's parser would let surrogates through, which nothing can write down again."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _deepest(data: bytes) -> int:
    depth = deepest = 0
    for match in _OUTSIDE_STRINGS.finditer(data):
        first = data[match.start()]
        depth += (first in b"[{") - (first in b"]}")
        deepest = max(deepest, depth)
    return deepest
