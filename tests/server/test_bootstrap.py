from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from safelight.server.bootstrap import Application, BootstrapApp, Message, Receive, Scope, Send


class RecordingApp:
    """An application that records the calls that it gets."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self.seen.append((await receive())["type"])
            scope["state"]["open"] = True
            await send({"type": "lifespan.startup.complete"})
            self.seen.append((await receive())["type"])
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await send({"type": "http.response.start", "status": 299, "headers": []})


@asynccontextmanager
async def run_lifespan(bootstrap: BootstrapApp, state: dict[str, Any]) -> AsyncIterator[None]:
    """Run the lifespan of an application, as a server does."""
    steps: asyncio.Queue[Message] = asyncio.Queue()
    said: asyncio.Queue[Message] = asyncio.Queue()
    life = asyncio.create_task(bootstrap({"type": "lifespan", "state": state}, steps.get, said.put))
    await steps.put({"type": "lifespan.startup"})
    assert (await said.get())["type"] == "lifespan.startup.complete"
    yield
    await steps.put({"type": "lifespan.shutdown"})
    assert (await said.get())["type"] == "lifespan.shutdown.complete"
    await life


async def asked(
    bootstrap: BootstrapApp, path: str, kind: str = "http", accept: bytes = b"*/*"
) -> list[Message]:
    said: list[Message] = []

    async def send(message: Message) -> None:
        said.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    scope = {"type": kind, "method": "GET", "path": path, "headers": [(b"accept", accept)]}
    await bootstrap(scope, receive, send)
    return said


def make_bootstrap(app: Application, problems: list[Exception]) -> tuple[BootstrapApp, threading.Event]:
    """A bootstrap application that loads its inner application once the event is set."""
    there = threading.Event()

    def load() -> Application:
        there.wait(10)
        return app

    return BootstrapApp(load, problems.append), there


def test_requests_before_and_after_loading() -> None:
    inner, problems, state = RecordingApp(), list[Exception](), dict[str, Any]()

    async def run() -> None:
        bootstrap, there = make_bootstrap(inner, problems)
        async with run_lifespan(bootstrap, state):
            start, body = await asked(bootstrap, "/health/live")
            assert (start["status"], json.loads(body["body"])) == (200, {"status": "live"})
            start, body = await asked(bootstrap, "/health/ready")
            assert (start["status"], json.loads(body["body"])["missing"]) == (503, ["server"])
            start, _ = await asked(bootstrap, "/v1/jobs")
            assert (start["status"], (b"retry-after", b"1") in start["headers"]) == (503, True)
            assert (await asked(bootstrap, "/v1/jobs/1/ws", "websocket"))[0]["type"] == "websocket.close"
            there.set()
            while "open" not in state:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0)
            assert (await asked(bootstrap, "/v1/jobs"))[0]["status"] == 299

    asyncio.run(run())
    assert inner.seen == ["lifespan.startup", "lifespan.shutdown"]
    assert problems == []


def test_a_browser_gets_a_page_that_loads_itself_again() -> None:
    async def run() -> list[Message]:
        bootstrap, there = make_bootstrap(RecordingApp(), [])
        async with run_lifespan(bootstrap, {}):
            answer = await asked(bootstrap, "/studio/", accept=b"text/html,application/xhtml+xml,*/*;q=0.8")
            there.set()
        return answer

    start, body = asyncio.run(run())
    headers = dict(start["headers"])
    assert (start["status"], headers[b"cache-control"]) == (503, b"no-store")
    assert headers[b"content-type"].startswith(b"text/html")
    assert b'http-equiv="refresh" content="1"' in body["body"]


def test_a_shutdown_while_it_loads() -> None:
    inner, problems = RecordingApp(), list[Exception]()

    async def run() -> None:
        bootstrap, there = make_bootstrap(inner, problems)
        async with run_lifespan(bootstrap, {}):
            asyncio.get_running_loop().call_later(0.1, there.set)

    asyncio.run(run())
    assert inner.seen in (["lifespan.startup", "lifespan.shutdown"], [])
    assert problems == []


@pytest.mark.parametrize("where", ["load", "start"])
def test_a_loading_error_fails_the_startup(where: str) -> None:
    problems: list[Exception] = []

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("start")

    def load() -> Application:
        if where == "load":
            raise ValueError("load")
        return broken

    async def run() -> None:
        bootstrap = BootstrapApp(load, problems.append)
        async with run_lifespan(bootstrap, {}):
            while not problems:
                await asyncio.sleep(0.01)
            assert (await asked(bootstrap, "/v1/jobs"))[0]["status"] == 503

    asyncio.run(run())
    assert [str(problem) for problem in problems] == [where]
