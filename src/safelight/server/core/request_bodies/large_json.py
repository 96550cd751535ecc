"""Parse JSON with images in it without blocking other threads: Python's parser holds the interpreter lock throughout.

Long strings are cut out and parsed a piece at a time; the rest is small.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

LARGE = 1 << 20
"""Bytes from which on this is worth its overhead."""
_LONG = 1 << 16
_PIECE = 1 << 20


def loads(data: bytes) -> Any:
    """Parse UTF-8 JSON as ``json.loads`` does.

    Raises:
        json.JSONDecodeError: The data is no JSON; the error's ``doc`` is empty.
    """
    if len(data) < LARGE:
        return json.loads(data)
    token, position = secrets.token_hex(8), 0
    kept: list[bytes] = []
    strings: dict[str, str] = {}
    for start, end in _long_strings(data):
        name = f"{token} {len(strings)}"
        kept += [data[position:start], f'"{name}"'.encode()]
        strings[name] = _parse_string(data, start + 1, end - 1)
        position = end
    try:
        found = json.loads(b"".join((*kept, data[position:])))
    except json.JSONDecodeError as error:
        raise json.JSONDecodeError(error.msg, "", _position_in_whole(error.pos, data, token)) from error
    around = [found]
    _restore_strings(around, strings)
    return around[0]


def _long_strings(data: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of each long string that can be parsed in pieces, its quotes included."""
    end = 0
    while (start := data.find(b'"', end)) >= 0 and (end := _string_end(data, start)):
        if end - start > _LONG and _can_split(data, start, end):
            yield start, end


def _can_split(data: bytes, start: int, end: int) -> bool:
    """Whether no character takes more than two bytes: ASCII and simple escapes only."""
    pieces = (data[at : min(at + _PIECE + 1, end)] for at in range(start, end, _PIECE))
    return all(piece.isascii() and b"\\u" not in piece for piece in pieces)


def _string_end(data: bytes, start: int) -> int:
    """The index after a string's closing quote; 0 if there is none."""
    quote = start
    while (quote := data.find(b'"', quote + 1)) >= 0:
        before = quote - 1
        while data[before] == 0x5C:
            before -= 1
        if (quote - before) % 2:  # an even number of backslashes
            return quote + 1
    return 0


def _parse_string(data: bytes, start: int, end: int) -> str:
    parts = []
    while start < end:
        piece = data[start : min(start + _PIECE, end)]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:  # do not split an escape
            piece = piece[:-1]
        parts.append(json.loads(b'"%b"' % piece))
        start += len(piece)
    return "".join(parts)


def _position_in_whole(position: int, data: bytes, token: str) -> int:
    """The position in the whole data of a position in the shortened text."""
    for number, (start, end) in enumerate(_long_strings(data)):
        if start >= position:
            break
        position += end - start - len(f'"{token} {number}"')
    return position


def _restore_strings(found: list[Any], strings: dict[str, str]) -> None:
    """Replace the placeholders by their strings, in names too."""
    waiting: list[dict[str, Any] | list[Any]] = [found]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            for name in [name for name in here if name in strings]:
                here[strings[name]] = here.pop(name)
        for key, value in here.items() if isinstance(here, dict) else enumerate(here):
            if isinstance(value, str):
                here[key] = strings.get(value, value)  # type: ignore[index]
            elif isinstance(value, dict | list):
                waiting.append(value)
