"""JSON with pictures in it, parsed so that other threads have their turn: Python's parser gives them none.

Strings that are long are cut out, and parsed a piece at a time; what is left is small.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

LARGE = 1 << 20
"""Bytes from which on it is worth while."""
_LONG = 1 << 16
_PIECE = 1 << 20


def loads(data: bytes) -> Any:
    """As ``json.loads`` does it, of UTF-8.

    Raises:
        json.JSONDecodeError: It is no JSON; ``doc`` is empty.
    """
    if len(data) < LARGE:
        return json.loads(data)
    token, position = secrets.token_hex(8), 0
    kept: list[bytes] = []
    strings: dict[str, str] = {}
    for start, end in _long_strings(data):
        name = f"{token} {len(strings)}"
        kept += [data[position:start], f'"{name}"'.encode()]
        strings[name] = _string(data, start + 1, end - 1)
        position = end
    try:
        found = json.loads(b"".join((*kept, data[position:])))
    except json.JSONDecodeError as error:
        raise json.JSONDecodeError(error.msg, "", _place(error.pos, data, token)) from error
    around = [found]
    _put_back(around, strings)
    return around[0]


def _long_strings(data: bytes) -> Iterator[tuple[int, int]]:
    """Where the long strings are, with their quotes, as far as they can be parsed in pieces."""
    end = 0
    while (start := data.find(b'"', end)) >= 0 and (end := _end(data, start)):
        if end - start > _LONG and _can_be_cut(data, start, end):
            yield start, end


def _can_be_cut(data: bytes, start: int, end: int) -> bool:
    """Whether no sign takes more than two bytes."""
    pieces = (data[at : min(at + _PIECE + 1, end)] for at in range(start, end, _PIECE))
    return all(piece.isascii() and b"\\u" not in piece for piece in pieces)


def _end(data: bytes, start: int) -> int:
    """Behind the quote that ends a string; 0 where there is none."""
    quote = start
    while (quote := data.find(b'"', quote + 1)) >= 0:
        before = quote - 1
        while data[before] == 0x5C:
            before -= 1
        if (quote - before) % 2:  # an even number of backslashes
            return quote + 1
    return 0


def _string(data: bytes, start: int, end: int) -> str:
    parts = []
    while start < end:
        piece = data[start : min(start + _PIECE, end)]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:  # not between a backslash and what it is for
            piece = piece[:-1]
        parts.append(json.loads(b'"%b"' % piece))
        start += len(piece)
    return "".join(parts)


def _place(position: int, data: bytes, token: str) -> int:
    """Where in the whole an error is."""
    for number, (start, end) in enumerate(_long_strings(data)):
        if start >= position:
            break
        position += end - start - len(f'"{token} {number}"')
    return position


def _put_back(found: list[Any], strings: dict[str, str]) -> None:
    """Put the strings where they were, names too."""
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
