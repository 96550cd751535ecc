"""Server-sent events with keep-alive comments."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

KEEPALIVE_SECONDS = 15.0
"""Seconds without an event after which a comment is sent, so that no proxy closes the connection."""
SSE_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

EventData = Mapping[str, Any]


def sse_response(
    events: AsyncGenerator[EventData, None], keepalive: float = KEEPALIVE_SECONDS
) -> StreamingResponse:
    """A response that sends events as they come, each named by its ``type``.

    Args:
        events: JSON objects.
        keepalive: Seconds between two keep-alive comments.
    """
    return StreamingResponse(
        _with_keepalive(events, keepalive), media_type="text/event-stream", headers=SSE_HEADERS
    )


async def _with_keepalive(events: AsyncGenerator[EventData, None], keepalive: float) -> AsyncIterator[bytes]:
    upcoming = asyncio.ensure_future(anext(events))
    try:
        while True:
            done, _ = await asyncio.wait({upcoming}, timeout=keepalive)
            if not done:
                yield format_sse_event(comment="waiting")
                continue
            try:
                event = upcoming.result()
            except StopAsyncIteration:
                return
            yield format_sse_event(event=str(event["type"]), data_str=json.dumps(event))
            upcoming = asyncio.ensure_future(anext(events))
    finally:
        upcoming.cancel()
        with suppress(asyncio.CancelledError, StopAsyncIteration):
            await upcoming
        await events.aclose()
