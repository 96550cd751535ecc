"""Limits of JSON, checked before it is parsed: a small body can become a large tree of objects."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterator

from safelight.errors import BodyInvalidError

MAX_DEPTH, MAX_VALUES = 64, 200_000
"""Maximum nesting depth and number of values."""
MAX_QUOTES = 4 * MAX_VALUES
"""Maximum number of quotes: a value has at most two strings, its name and itself."""
MAX_ESCAPES = 4_000_000
"""Maximum number of backslashes: base64 of the largest request has so many if lines and slashes are escaped."""
_PIECE = 1 << 20
"""Bytes to scan in one step: a step holds the interpreter lock."""
_ESCAPE = 12
"""Bytes of the longest escape, a surrogate pair."""
_DELIMITER = re.compile(rb'["[{\]}]')
_SURROGATES = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>[89a-fA-F]))"
)


def json_error(data: bytes) -> BodyInvalidError | None:
    """The first violated limit of JSON, if any: encoding, number of values, depth, lone surrogates.

    Counting comes first, which is fast even with many megabytes of base64; the time of all further checks is bounded by
    the maximum number of values.
    """
    counts = _counts(data)
    if counts["\0"] or not _is_utf8(data):  # UTF-16 and UTF-32, which Python's parser accepts, have zeros
        return BodyInvalidError("The request's JSON is not in UTF-8.")
    if any(counts[sign] > MAX_VALUES for sign in ",[]{}") or counts['"'] > MAX_QUOTES:
        return BodyInvalidError(f"The request has more than {MAX_VALUES} values.")
    escapes = counts["\\"]
    surrogates = counts["\\ud"] + counts["\\uD"]
    if escapes > MAX_ESCAPES or surrogates > MAX_VALUES:
        return BodyInvalidError("The request has too many escapes: send text as it is, in UTF-8.")
    deep = counts["["] + counts["{"] > MAX_DEPTH
    if escapes and (surrogates or deep):
        data = b"".join(_without_escapes(data))  # from here on every quote delimits a string
    if surrogates and _has_lone_surrogate(data):
        return BodyInvalidError("The request's text has half a character in it: a lone surrogate.")
    if deep and _deepest(data) > MAX_DEPTH:
        return BodyInvalidError(f"The request is nested deeper than {MAX_DEPTH} levels.")
    return None


def _pieces(data: bytes, overlap: int = 0) -> Iterator[bytes]:
    return (data[at : at + _PIECE + overlap] for at in range(0, len(data), _PIECE))


def _without_escapes(data: bytes) -> Iterator[bytes]:
    """The data in pieces, with escaped backslashes and quotes replaced by text of the same length."""
    start = 0
    while start < len(data):
        piece = data[start : start + _PIECE]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2 and len(piece) > 1:
            piece = piece[:-1]  # do not split an escape
        yield piece.replace(b"\\\\", b"__").replace(b'\\"', b"__")
        start += len(piece)


def _has_lone_surrogate(data: bytes) -> bool:
    position = 0
    while position < len(data):
        found = _SURROGATES.search(data, position, position + _PIECE + _ESCAPE)
        if found is None or found.start() >= position + _PIECE:
            position += _PIECE
        elif found["lone"]:
            return True
        else:
            position = found.end()
    return False


def _counts(data: bytes) -> Counter[str]:
    """How often each relevant character occurs, within strings too."""
    counts: Counter[str] = Counter()
    for piece in _pieces(data):
        counts.update({sign: piece.count(sign.encode()) for sign in '\0,[]{}"\\'})
    if counts["\\"]:
        for piece in _pieces(data, overlap=2):
            counts.update({sign: piece.count(sign.encode()) for sign in ("\\ud", "\\uD")})
    return counts


def _is_utf8(data: bytes) -> bool:
    """Whether the data is valid UTF-8; Python's parser accepts encoded surrogates, which cannot be encoded again."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for piece in _pieces(data):
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _deepest(data: bytes) -> int:
    depth = deepest = position = 0
    while found := _DELIMITER.search(data, position):
        position = found.end()
        if found[0] == b'"':
            position = data.find(b'"', position) + 1
            if not position:  # an unterminated string
                break
        else:
            depth += 1 if found[0] in b"[{" else -1
            deepest = max(deepest, depth)
    return deepest
