"""Server-sent events with keep-alive comments."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

QUIET = 15.0
"""Seconds without an event after which a comment is sent, so that no proxy closes the connection."""
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

Event = Mapping[str, Any]


def event_stream(events: AsyncGenerator[Event, None], quiet: float = QUIET) -> StreamingResponse:
    """A response that sends events as they come, each named by its ``type``.

    Args:
        events: JSON objects.
        quiet: Seconds between two keep-alive comments.
    """
    return StreamingResponse(_alive(events, quiet), media_type="text/event-stream", headers=HEADERS)


async def _alive(events: AsyncGenerator[Event, None], quiet: float) -> AsyncIterator[bytes]:
    upcoming = asyncio.ensure_future(anext(events))
    try:
        while True:
            done, _ = await asyncio.wait({upcoming}, timeout=quiet)
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
