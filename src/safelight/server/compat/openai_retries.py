"""Automatic retries of OpenAI's client: a retry gets the job of the first attempt instead of a second job."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers

COUNT = "x-stainless-retry-count"
"""Header in which OpenAI's client says how many attempts it made before."""
NO_MORE = {"x-should-retry": "false"}
"""Header that stops OpenAI's client from retrying a request that would fail again."""
LONGEST = 3600.0
"""Seconds after which a request is no longer treated as a retry of an earlier one."""


def tries_before(headers: Headers) -> int | None:
    """The number of earlier attempts; None for other clients, which do not send it."""
    text = headers.get(COUNT, "")
    return int(text) if text.isdecimal() and len(text) < 4 else None


def mark_of(path: str, fields: Mapping[str, Any]) -> str:
    """The prefix that the idempotency keys of all attempts of one call share.

    Args:
        path: Path of the route.
        fields: The request's fields, with images as bytes.
    """
    text = json.dumps([path, fields], sort_keys=True, default=_digest)
    return f"openai:{_digest(text.encode())}:"


def key_of(mark: str) -> str:
    """A new idempotency key for the first attempt; two equal calls are two jobs."""
    return mark + secrets.token_hex(8)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
