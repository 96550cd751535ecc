from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.free_port import free_port

from safelight.errors import PortInUseError
from safelight.server.core import listening_socket
from safelight.server.core.listening_socket import MAX_ACCEPTED_AT_ONCE, ListeningSocket, listen
from safelight.settings import Settings

DESCRIPTORS = Path("/proc/self/fd")


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "256.0.0.1"])
def test_addresses_of_other_machines(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "invalid" in host:
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(PortInUseError, match="cannot be listened on"):
        listen(Settings(home=tmp_path, host=host, port=free_port()), lambda _: True)


def refuse(*_: object, **__: object) -> None:
    raise socket.gaierror("no such name")


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Callable[..., ListeningSocket]]:
    """Create listening sockets, which are closed at the end."""
    with ExitStack() as opened:

        def make(may_connect: Callable[[str], bool] = lambda _: True) -> ListeningSocket:
            made = listen(Settings(home=tmp_path, port=free_port()), may_connect)
            made.setblocking(False)
            return opened.enter_context(made)

        yield make


def connect(listener: ListeningSocket, number: int, opened: ExitStack) -> list[socket.socket]:
    return [
        opened.enter_context(socket.create_connection(listener.getsockname(), timeout=10))
        for _ in range(number)
    ]


def test_few_connections_are_accepted_at_once(listener: Callable[..., ListeningSocket]) -> None:
    made = listener()
    with ExitStack() as opened:
        connect(made, MAX_ACCEPTED_AT_ONCE + 1, opened)
        for _ in range(MAX_ACCEPTED_AT_ONCE):
            opened.enter_context(made.accept()[0])
        with pytest.raises(BlockingIOError):
            made.accept()
        opened.enter_context(made.accept()[0])


def test_a_refused_connection_is_closed(listener: Callable[..., ListeningSocket]) -> None:
    answers = iter([False, False, True])
    made = listener(lambda _: next(answers))
    with ExitStack() as opened:
        first, second, third = connect(made, 3, opened)
        accepted, _ = made.accept()
        opened.enter_context(accepted)
        assert first.recv(1) == second.recv(1) == b""
        accepted.send(b"x")
        assert third.recv(1) == b"x"


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    now, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []
    largest = max(int(path.name) for path in DESCRIPTORS.iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (largest + 1, highest))
    try:
        with suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (now, highest))
        for descriptor in held:
            os.close(descriptor)


@pytest.mark.skipif(not DESCRIPTORS.exists(), reason="Linux only")
def test_without_file_descriptors_connections_are_dropped_and_logged_once(
    listener: Callable[..., ListeningSocket], logged: Callable[[], list[dict[str, Any]]]
) -> None:
    """With asyncio's own accept loop, which would log each attempt, more and more often."""

    async def answers() -> list[bytes]:
        made = listener()
        loop = asyncio.get_running_loop()
        with ExitStack() as opened:
            clients = [opened.enter_context(socket.socket()) for _ in range(20)]
            for client in clients:
                client.setblocking(False)
            server = await asyncio.start_server(hello, sock=made, backlog=listening_socket.BACKLOG)
            with no_descriptors_left():
                for client in clients[:-1]:
                    await loop.sock_connect(client, made.getsockname())
                dropped = [await asyncio.wait_for(loop.sock_recv(each, 9), 10) for each in clients[:-1]]
            await loop.sock_connect(clients[-1], made.getsockname())
            last = await asyncio.wait_for(loop.sock_recv(clients[-1], 9), 10)
            server.close()
            await server.wait_closed()
        return [*dropped, last]

    assert asyncio.run(answers()) == [b""] * 19 + [b"hello"]
    assert [line["event"] for line in logged()] == ["connections are dropped"]


async def hello(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello")
    writer.close()
