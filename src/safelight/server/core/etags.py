"""Conditional requests (RFC 9110): whether a client already has a response."""

from __future__ import annotations

from starlette.requests import Request


def etag_matches(request: Request, tag: str) -> bool:
    """Whether the client's If-None-Match holds this ETag."""
    held = request.headers.get("if-none-match", "")
    return held.strip() == "*" or tag in [part.strip().removeprefix("W/") for part in held.split(",")]
