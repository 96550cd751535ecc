from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import pytest
import uvicorn

from safelight.server import protocol
from safelight.server.protocol import PatientProtocol

OK = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def app(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """Takes longer to answer than headers may take to arrive."""
    if scope["type"] == "http":
        await asyncio.sleep(0.5)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})


async def said_to(parts: list[bytes], pause: float) -> bytes:
    """What a server answers to parts of a request that come with pauses, until it closes or half a second is over."""
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, http=PatientProtocol, lifespan="off", log_config=None)
    )
    config = server.config
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(pause)
        return await asyncio.wait_for(reader.read(10_000), 3)
    except ConnectionError:  # it closed while we were still writing
        return b""
    finally:
        writer.close()
        await server.shutdown()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "PATIENCE", 0.3)


@pytest.mark.parametrize(
    "parts", [[], [b"GET / HTTP/1.1\r\n"], [b"GET /", b" ", b"HTTP/1.1\r\n", b"X: y\r\n"]]
)
def test_headers_that_never_end(parts: list[bytes]) -> None:
    assert asyncio.run(said_to(parts, 0.15)) == b""


def test_slow_answers_are_no_slow_headers() -> None:
    assert asyncio.run(said_to([OK], 0)).startswith(b"HTTP/1.1 200")


def test_headers_in_parts() -> None:
    assert asyncio.run(said_to([OK[:10], OK[10:]], 0.1)).startswith(b"HTTP/1.1 200")


def test_the_second_request_s_headers_too() -> None:
    assert asyncio.run(said_to([OK, b"GET / HTTP/1.1\r\n"], 0.7)).count(b"HTTP/1.1") == 1


LONG = 20_000_000
"""Bytes of an answer that lies in no buffer as a whole."""


async def taken_from(pauses: Iterator[float]) -> tuple[int, bool]:
    """How much of a long answer comes to a client that pauses, and whether the server is done with it in the end."""
    ended = asyncio.Event()

    async def long(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        length = str(LONG).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        for left in range(LONG // 100_000, 0, -1):
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": left > 1})
        ended.set()

    server = uvicorn.Server(
        uvicorn.Config(long, port=0, http=PatientProtocol, lifespan="off", log_config=None)
    )
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    reader, writer = await asyncio.open_connection(*server.servers[0].sockets[0].getsockname())
    writer.write(OK)
    taken = 0
    try:
        for pause in pauses:
            await asyncio.sleep(pause)
            taken += len(await reader.readexactly(2_000_000))
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        await asyncio.sleep(0.05)
        writer.close()
        await server.shutdown()
    return taken, ended.is_set()


def test_answers_that_nobody_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "TAKING", 0.4)
    taken, ended = asyncio.run(taken_from(iter([0, 1.0, *[0.0] * 8])))
    assert taken < LONG
    assert ended


def test_answers_that_are_taken_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "TAKING", 0.4)
    assert asyncio.run(taken_from(iter([0.1] * 10))) == (LONG, True)
