from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.utils import ClientDisconnected
from websockets.asyncio.client import connect

from safelight.server.core import http_protocol
from safelight.server.core.http_protocol import OVER_LIMIT, HttpProtocol, WebSocketProtocol
from safelight.server.security.connection_limits import ConnectionLimiter

OK = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def app(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """An application that takes longer to respond than headers may take to arrive."""
    if scope["type"] == "http":
        await asyncio.sleep(0.5)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})


async def run_server(app: Any, total: int = 10, each: int = 10) -> uvicorn.Server:
    """A server with these connection limits; the test shuts it down."""
    connections = ConnectionLimiter(total, each)
    config = uvicorn.Config(
        app,
        port=0,
        http=partial(HttpProtocol, connections=connections),  # type: ignore[arg-type]
        ws=partial(WebSocketProtocol, connections=connections),  # type: ignore[arg-type]
        ws_max_size=1000,
        lifespan="off",
        log_config=None,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    return server


def address_of(server: uvicorn.Server) -> tuple[str, int]:
    host, port = server.servers[0].sockets[0].getsockname()
    return host, port


async def send_in_parts(parts: list[bytes], pause: float) -> bytes:
    """Send parts of a request with pauses; returns the response until the server closes or half a second has passed."""
    server = await run_server(app)
    reader, writer = await asyncio.open_connection(*address_of(server))
    try:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(pause)
        return await asyncio.wait_for(reader.read(10_000), 3)
    except ConnectionError:  # the server closed while we were still writing
        return b""
    finally:
        writer.close()
        await server.shutdown()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEADERS_TIMEOUT", 0.3)


@pytest.mark.parametrize(
    "parts", [[], [b"GET / HTTP/1.1\r\n"], [b"GET /", b" ", b"HTTP/1.1\r\n", b"X: y\r\n"]]
)
def test_headers_that_never_end(parts: list[bytes]) -> None:
    assert asyncio.run(send_in_parts(parts, 0.15)) == b""


def test_a_slow_response_is_no_header_timeout() -> None:
    assert asyncio.run(send_in_parts([OK], 0)).startswith(b"HTTP/1.1 200")


def test_headers_that_arrive_in_parts() -> None:
    assert asyncio.run(send_in_parts([OK[:10], OK[10:]], 0.1)).startswith(b"HTTP/1.1 200")


def test_the_headers_of_the_second_request_time_out_too() -> None:
    assert asyncio.run(send_in_parts([OK, b"GET / HTTP/1.1\r\n"], 0.7)).count(b"HTTP/1.1") == 1


LONG = 20_000_000
"""The size of a response that fits no socket buffer, in bytes."""


async def read_slowly(pauses: Iterator[float]) -> tuple[int, bool]:
    """How much of a long response reaches a client that pauses, and whether the server has closed the connection."""
    ended = asyncio.Event()

    async def long(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        length = str(LONG).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        for left in range(LONG // 100_000, 0, -1):
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": left > 1})
        ended.set()

    server = await run_server(long)
    reader, writer = await asyncio.open_connection(*address_of(server))
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


def test_a_response_that_is_never_read_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "WRITE_TIMEOUT", 0.4)
    taken, ended = asyncio.run(read_slowly(iter([0, 1.0, *[0.0] * 8])))
    assert taken < LONG
    assert ended


def test_a_response_that_is_read_slowly_is_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "WRITE_TIMEOUT", 0.4)
    assert asyncio.run(read_slowly(iter([0.1] * 10))) == (LONG, True)


def test_a_body_that_continues_after_the_response_holds_no_connection() -> None:
    async def sent_until_closed() -> int:
        server = await run_server(app)
        _, writer = await asyncio.open_connection(*address_of(server))
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        sent = 0
        while sent < 30 and (not sent or server.server_state.connections):
            await asyncio.sleep(0.1)
            writer.write(b"x")
            sent += 1
        writer.close()
        await server.shutdown()
        return sent

    assert asyncio.run(sent_until_closed()) < 30


def test_a_complete_response_that_is_not_read_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of it is too small to have paused the writing."""
    monkeypatch.setattr(http_protocol, "WRITE_TIMEOUT", 0.3)

    async def small(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"50000")]})
        await send({"type": "http.response.body", "body": b"x" * 50_000})

    async def connections_left() -> int:
        server = await run_server(small)
        server.servers[0].sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, address_of(server))
            await asyncio.get_running_loop().sock_sendall(client, OK)
            async with asyncio.timeout(10):
                while not server.server_state.connections:
                    await asyncio.sleep(0.01)
                with suppress(TimeoutError):
                    async with asyncio.timeout(3):
                        while server.server_state.connections:
                            await asyncio.sleep(0.01)
        left = len(server.server_state.connections)
        await server.shutdown()
        return left

    assert asyncio.run(connections_left()) == 0


def test_invalid_http_during_a_response(caplog: pytest.LogCaptureFixture) -> None:
    async def begun(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.3)
        await send({"type": "http.response.body", "body": b"x"})

    async def said() -> bytes:
        server = await run_server(begun)
        reader, writer = await asyncio.open_connection(*address_of(server))
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        await asyncio.sleep(0.1)
        writer.write(b"no chunk\r\n")
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        await server.shutdown()
        return answer

    assert asyncio.run(said()).count(b"HTTP/1.1") == 1
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def open_connections(
    app: Any, requests: list[bytes], more: bytes, total: int, each: int
) -> tuple[list[bool], bytes]:
    """Open connections with given states: returns which are closed when one more is opened, and that one's response."""
    server = await run_server(app, total, each)
    pairs = []
    for request in requests:
        pairs.append(await asyncio.open_connection(*address_of(server)))
        pairs[-1][1].write(request)
        if request == NOW:
            await pairs[-1][0].readuntil(b"False")
        await asyncio.sleep(0.02)
    reader, writer = await asyncio.open_connection(*address_of(server))
    writer.write(more)
    answer = await asyncio.wait_for(reader.read(100), 5)
    closed = []
    for other, _ in pairs:
        try:
            closed.append(await asyncio.wait_for(other.read(100), 0.02) == b"")
        except (TimeoutError, ConnectionError) as error:
            closed.append(isinstance(error, ConnectionError))
    for _, other in [*pairs, (reader, writer)]:
        other.close()
    await server.shutdown()
    return closed, answer


async def slow(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    """An application that responds with whether the request is to be refused; at once only under /now."""
    if scope["path"] != "/now":
        await asyncio.sleep(0.4)
    body = str(scope["state"][OVER_LIMIT]).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


NOW = OK.replace(b"/", b"/now", 1)
BODY = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"


@pytest.mark.parametrize(
    ("requests", "total", "each", "closed", "refused"),
    [
        ([b"", b"GET"], 10, 2, [True, False], False),
        ([OK, b"GET", b""], 10, 3, [False, True, False], False),
        ([OK, NOW], 10, 2, [False, True], False),
        ([OK, OK], 10, 2, [False, False], True),
        ([OK, BODY], 10, 2, [False, False], True),
        ([OK, BODY], 2, 10, [False, True], False),
        ([OK, OK], 2, 10, [False, False], True),
        ([BODY, b""], 2, 10, [False, True], False),
    ],
)
def test_one_connection_above_the_limit(
    requests: list[bytes],
    total: int,
    each: int,
    closed: list[bool],
    refused: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_protocol, "HEADERS_TIMEOUT", 5)
    found, answer = asyncio.run(open_connections(slow, requests, NOW, total, each))
    assert answer.endswith(str(refused).encode())
    assert found == closed


def test_a_websocket_closed_by_the_protocol_is_a_disconnect() -> None:
    """It was closed because of a message that is too long, while it is being sent another."""
    raised: list[BaseException] = []

    async def talks(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        try:
            await send({"type": "websocket.send", "text": "hello"})
        except BaseException as error:
            raised.append(error)
            raise

    async def talk() -> None:
        server = await run_server(talks)
        host, port = address_of(server)
        async with connect(f"ws://{host}:{port}/") as client:
            await client.send("x" * 2000)
            await client.wait_closed()
        async with asyncio.timeout(5):
            while server.server_state.tasks:
                await asyncio.sleep(0.01)
        await server.shutdown()

    asyncio.run(talk())
    assert [type(error) for error in raised] == [ClientDisconnected]
