"""Loading the web UI in the background: early requests, waiting requests, and a failure."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.types import ASGIApp
from tests.asgi_requests import RecordingApp, request, request_async, run_in_thread

from safelight.server.core import lazy_ui
from safelight.server.core.lazy_ui import LazyUi

PATH = "/studio/"


@pytest.fixture
def page() -> RecordingApp:
    """A small application in place of Gradio's."""
    return RecordingApp([b"the page"])


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, page: RecordingApp) -> Iterator[threading.Event]:
    """An event; the application is loaded once it is set."""
    event = threading.Event()

    async def load() -> ASGIApp:
        event.wait()
        return page

    monkeypatch.setattr(lazy_ui, "_load_ui", load)
    yield event
    event.set()


@asynccontextmanager
async def run_lazy_ui() -> AsyncIterator[LazyUi]:
    studio = LazyUi()
    studio.start()
    yield studio
    await studio.stop()


def test_before_the_lifespan() -> None:
    answer = request(LazyUi(), PATH)
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (503, "server.starting")
    assert "retry-after" in answer.headers


def test_early_requests_wait(loaded: threading.Event, page: RecordingApp) -> None:
    async def visits() -> None:
        async with run_lazy_ui() as studio:
            early = [asyncio.create_task(request_async(studio, PATH)) for _ in range(3)]
            await asyncio.sleep(0.05)
            assert not any(visit.done() for visit in early)
            early[0].cancel()  # a request that is cancelled does not cancel the loading
            loaded.set()
            assert [(await visit).body for visit in early[1:]] == [b"the page"] * 2
            assert (await request_async(studio, PATH)).status == 200

    run_in_thread(visits())
    assert len(page.scopes) == 3


def test_shutdown_does_not_wait_for_loading(loaded: threading.Event) -> None:
    async def visits() -> None:
        async with run_lazy_ui() as studio:
            early = asyncio.create_task(request_async(studio, PATH))
            await asyncio.sleep(0.05)
        with pytest.raises(asyncio.CancelledError):
            await early
        assert not loaded.is_set()
        loaded.set()

    run_in_thread(visits())
    run_in_thread(LazyUi().stop())


def test_a_ui_that_cannot_be_loaded(
    monkeypatch: pytest.MonkeyPatch, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    """Every request gets the error, and the log has it once, with the reason."""
    monkeypatch.setitem(sys.modules, "safelight.ui.mount", None)

    async def visits() -> None:
        async with run_lazy_ui() as studio:
            for _ in range(3):
                answer = await request_async(studio, PATH)
                error = json.loads(answer.body)["error"]
                assert (answer.status, error["code"]) == (500, "internal")
                assert "studio" in error["message"]

    run_in_thread(visits())
    (defect,) = [line for line in logged() if line["event"] == "a defect"]
    assert "safelight.ui.mount" in defect["exception"]
