"""Calls that OpenAI's client makes again by itself: they are to get the job that is on its way, not another one."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers

COUNT = "x-stainless-retry-count"
"""Header in which OpenAI's client says how often it has tried before."""
NO_MORE = {"x-should-retry": "false"}
"""Header that keeps OpenAI's client from trying again what would fail again."""
LONGEST = 3600.0
"""Seconds after which a call is not taken for another try of an earlier one."""


def tries_before(headers: Headers) -> int | None:
    """How often the client has tried before; None of other clients, which do not say."""
    text = headers.get(COUNT, "")
    return int(text) if text.isdecimal() and len(text) < 4 else None


def mark_of(path: str, fields: Mapping[str, Any]) -> str:
    """How the idempotency keys of all tries of one call begin.

    Args:
        path: Of the route.
        fields: The request's fields, with pictures as bytes.
    """
    text = json.dumps([path, fields], sort_keys=True, default=_digest)
    return f"openai:{_digest(text.encode())}:"


def key_of(mark: str) -> str:
    """An idempotency key for the first try; two equal calls are two jobs."""
    return mark + secrets.token_hex(8)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
