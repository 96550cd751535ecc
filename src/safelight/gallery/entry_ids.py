"""Ids of entries: short, sorted by time, and the same for each attempt of a job.

An id has nine characters of time and thirteen of key. The key depends only on job and index, so that a picture is
recognized even if a second attempt of its job gives it another time.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, without ambiguous characters
_TIME_DIGITS, _KEY_DIGITS = 9, 13
_START = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(milliseconds=1)
_ID = re.compile(f"[{_DIGITS}]{{{_TIME_DIGITS + _KEY_DIGITS}}}", re.ASCII)
_MAX_AGE = timedelta(days=365 * 200)  # within which _TIME digits suffice by far


def make_entry_id(created: datetime, key: str) -> str:
    """The id of an entry.

    Args:
        created: From 1970 to 2169, in milliseconds.
        key: The result of ``make_entry_key``.

    Raises:
        ValueError: The time is out of range.
    """
    if not timedelta(0) <= created - _START < _MAX_AGE:
        raise ValueError(f"{created} is out of range")
    return _encode_base32((created - _START) // _TICK, _TIME_DIGITS) + key


def make_entry_key(job_id: str, index: int) -> str:
    """The key of a picture, unique among all jobs: 65 bits of a digest."""
    digest = hashlib.sha256(f"{index}\n{job_id}".encode()).digest()
    return _encode_base32(int.from_bytes(digest) >> (256 - 5 * _KEY_DIGITS), _KEY_DIGITS)


def key_of(entry_id: str) -> str:
    """The key in an entry id."""
    return entry_id[_TIME_DIGITS:]


def created_of(entry_id: str) -> datetime:
    """The time in an entry id, to the millisecond."""
    milliseconds = 0
    for digit in entry_id[:_TIME_DIGITS]:
        milliseconds = milliseconds * len(_DIGITS) + _DIGITS.index(digit)
    return _START + milliseconds * _TICK


def is_entry_id(text: str) -> bool:
    """Whether a text is a valid entry id."""
    return _ID.fullmatch(text) is not None and created_of(text) - _START < _MAX_AGE


def _encode_base32(number: int, places: int) -> str:
    digits = []
    for _ in range(places):
        number, remainder = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[remainder])
    return "".join(reversed(digits))
