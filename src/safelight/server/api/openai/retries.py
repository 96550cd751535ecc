"""Automatic retries of OpenAI's client: a retry gets the job of the first attempt instead of a second job."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers

RETRY_COUNT_HEADER = "x-stainless-retry-count"
"""Header in which OpenAI's client says how many attempts it made before."""
NO_RETRY_HEADERS = {"x-should-retry": "false"}
"""Header that stops OpenAI's client from retrying a request that would fail again."""
MAX_RETRY_AGE = 3600.0
"""Seconds after which a request is no longer treated as a retry of an earlier one."""


def retry_count(headers: Headers) -> int | None:
    """The number of earlier attempts; None for other clients, which do not send it."""
    text = headers.get(RETRY_COUNT_HEADER, "")
    return int(text) if text.isdecimal() and len(text) < 4 else None


def retry_key_prefix(path: str, fields: Mapping[str, Any]) -> str:
    """The prefix that the idempotency keys of all attempts of one call share.

    Args:
        path: Path of the route.
        fields: The request's fields, with images as bytes.
    """
    text = json.dumps([path, fields], sort_keys=True, default=_digest)
    return f"openai:{_digest(text.encode())}:"


def new_retry_key(prefix: str) -> str:
    """A new idempotency key for the first attempt; two equal calls are two jobs."""
    return prefix + secrets.token_hex(8)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
