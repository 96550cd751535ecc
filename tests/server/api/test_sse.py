from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

import pytest

from safelight.server.api.sse import EventData, sse_response


def lines_of(events: AsyncGenerator[EventData, None], quiet: float = 10) -> list[str]:
    async def read() -> list[str]:
        response = sse_response(events, quiet)
        assert response.media_type == "text/event-stream"
        return [bytes(chunk).decode() async for chunk in response.body_iterator]  # type: ignore[arg-type]

    return asyncio.run(read())


def test_events_are_named_by_their_type() -> None:
    async def events() -> AsyncGenerator[EventData, None]:
        yield {"type": "one", "text": "zwei\nü"}
        yield {"type": "two"}

    first, second = lines_of(events())
    head, data = first.rstrip("\n").split("\n")
    assert head == "event: one"
    assert json.loads(data.removeprefix("data: ")) == {"type": "one", "text": "zwei\nü"}
    assert second.startswith("event: two\n")
    assert second.endswith("\n\n")


def test_silence_is_filled_with_comments() -> None:
    async def events() -> AsyncGenerator[EventData, None]:
        await asyncio.sleep(0.2)
        yield {"type": "late"}

    *comments, last = lines_of(events(), quiet=0.05)
    assert len(comments) >= 2
    assert all(comment.startswith(":") for comment in comments)
    assert last.startswith("event: late")


def test_the_event_source_is_closed_when_the_client_leaves() -> None:
    closed = []

    async def events() -> AsyncGenerator[EventData, None]:
        try:
            while True:
                yield {"type": "tick"}
                await asyncio.sleep(0.01)
        finally:
            closed.append(True)

    async def leave_early() -> None:
        body = sse_response(events()).body_iterator
        assert await anext(body)
        await body.aclose()  # type: ignore[attr-defined]
        assert closed

    asyncio.run(leave_early())


def test_a_defect_is_not_swallowed() -> None:
    async def events() -> AsyncGenerator[EventData, None]:
        yield {"type": "one"}
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        lines_of(events())
