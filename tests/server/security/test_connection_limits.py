from __future__ import annotations

import http.client
import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.free_port import free_port
from tests.server.conftest import read_log, run_processes, wait_for_status

from safelight.server.security import connection_limits
from safelight.server.security.connection_limits import ConnectionLimiter, Phase, client_key, max_connections

HERE, THERE = "192.0.2.1", "192.0.2.2"


class FakeConnection:
    """A connection with the attributes that are counted."""

    def __init__(self, address: str) -> None:
        self.address, self.aborted = address, False

    def get_extra_info(self, name: str) -> Any:
        return (self.address, 1) if name == "peername" else None

    def abort(self) -> None:
        self.aborted = True


def open_connection(bounds: ConnectionLimiter, *addresses: str, phase: Phase = Phase.IDLE) -> list[Any]:
    fakes: list[Any] = [FakeConnection(address) for address in addresses]
    for fake in fakes:
        bounds.opened(fake)
        bounds.set_phase(fake, phase)
    return fakes


def closed_connections(fakes: list[Any]) -> list[bool]:
    return [fake.aborted for fake in fakes]


def test_the_oldest_idle_connection_of_the_address_is_closed() -> None:
    bounds = ConnectionLimiter(100, 3)
    others = open_connection(bounds, THERE)
    mine = open_connection(bounds, HERE, HERE, HERE)
    bounds.set_phase(mine[0], Phase.BUSY)
    mine += open_connection(bounds, HERE)
    assert closed_connections(mine) == [False, True, False, False]
    bounds.set_phase(mine[0], Phase.IDLE)  # idle again, and the newest of the idle ones
    mine += open_connection(bounds, HERE)
    assert closed_connections(mine) == [False, True, True, False, False]
    assert closed_connections(others) == [False]
    assert len(bounds) == 4


def test_without_an_idle_connection_the_new_one_is_refused() -> None:
    bounds = ConnectionLimiter(100, 2)
    busy = open_connection(bounds, HERE, HERE, phase=Phase.BUSY)
    first, second = open_connection(bounds, HERE, HERE)
    assert closed_connections([*busy, first, second]) == [False, False, True, False]
    bounds.set_phase(second, Phase.BUSY)
    assert bounds.is_over_limit(second)
    assert not any(map(bounds.is_over_limit, open_connection(bounds, THERE, phase=Phase.BUSY)))
    bounds.closed(busy[0])
    assert not bounds.is_over_limit(second)


def test_at_the_total_limit_the_address_with_most_connections_loses_one() -> None:
    bounds = ConnectionLimiter(5, 4)
    few = open_connection(bounds, THERE, THERE)
    many = open_connection(bounds, HERE, HERE, HERE)
    open_connection(bounds, "192.0.2.3")
    assert closed_connections(few) == [False, False]
    assert closed_connections(many) == [True, False, False]


def test_at_the_total_limit_with_equal_addresses_the_oldest_is_closed() -> None:
    bounds = ConnectionLimiter(3, 3)
    each = open_connection(bounds, "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4")
    assert closed_connections(each) == [True, False, False, False]


def test_connections_with_arriving_bodies_are_closed_last_and_only_at_the_total_limit() -> None:
    bounds = ConnectionLimiter(3, 3)
    slow = open_connection(bounds, HERE, HERE, phase=Phase.RECEIVING)
    idle = open_connection(bounds, THERE)
    open_connection(bounds, "192.0.2.3", phase=Phase.BUSY)
    assert closed_connections(idle) == [True]
    last = open_connection(bounds, "192.0.2.4", phase=Phase.BUSY)
    assert closed_connections(slow) == [True, False]
    assert not bounds.is_over_limit(last[0])
    last = open_connection(bounds, "192.0.2.5", phase=Phase.BUSY)
    assert closed_connections(slow) == [True, True]
    last = open_connection(bounds, "192.0.2.6", phase=Phase.BUSY)
    assert bounds.is_over_limit(last[0])


def test_a_closed_connection_counts_no_longer_even_before_its_callback() -> None:
    bounds = ConnectionLimiter(10, 1)
    first, second = open_connection(bounds, HERE, HERE)
    bounds.set_phase(first, Phase.BUSY)
    assert bounds.is_over_limit(first)
    bounds.closed(first)
    bounds.closed(second)
    assert len(bounds) == 0


def test_an_address_at_its_limit_replaces_connections_at_a_limited_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(connection_limits.time, "monotonic", lambda: now)
    bounds = ConnectionLimiter(10, 2)
    open_connection(bounds, HERE)
    assert all(bounds.may_connect(HERE) for _ in range(1000))
    open_connection(bounds, HERE)
    at_once = sum(bounds.may_connect(HERE) for _ in range(1000))
    assert at_once == pytest.approx(connection_limits.MAX_REPLACED_PER_SECOND, abs=1)
    assert bounds.may_connect(THERE)
    now += 0.5
    assert sum(bounds.may_connect(HERE) for _ in range(1000)) == pytest.approx(
        connection_limits.MAX_REPLACED_PER_SECOND / 2, abs=1
    )


def test_a_proxy_may_use_the_total_limit() -> None:
    bounds = ConnectionLimiter(4, 1, lambda address: address == HERE)
    proxied = open_connection(bounds, HERE, HERE, HERE, HERE)
    assert closed_connections(proxied) == [False] * 4
    open_connection(bounds, HERE)
    assert closed_connections(proxied) == [True, False, False, False]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
    ],
)
def test_which_addresses_share_a_limit(address: str, name: str) -> None:
    assert client_key(address) == name


def test_it_is_logged_once_a_minute(monkeypatch: pytest.MonkeyPatch, logged: Any) -> None:
    now = 1000.0
    monkeypatch.setattr(connection_limits.time, "monotonic", lambda: now)
    bounds = ConnectionLimiter(10, 1)
    open_connection(bounds, *[HERE] * 20)
    now += connection_limits.LOG_INTERVAL
    open_connection(bounds, HERE)
    assert [line["closed"] for line in logged()] == [1, 19]


def test_the_total_limit_follows_the_file_descriptors() -> None:
    now, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, highest), highest))
        total, each = max_connections()
        raised, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert raised == min(highest, connection_limits.WANTED_DESCRIPTORS)
        assert total == min(connection_limits.MAX_CONNECTIONS, raised // 2)
        assert each == total // connection_limits.ADDRESS_SHARE
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (now, highest))


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The port of a server that has few file descriptors, and its data directory."""
    home, port = tmp_path_factory.mktemp("crowded"), free_port()
    with run_processes(home, ["api", "--port", str(port)]) as (process,):
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (FEW, FEW))
        wait_for_status(f"http://127.0.0.1:{port}", "/v1/system")
        yield port, home


FEW, MANY = 256, 600
"""File descriptors of the server, and connections to it from one address."""
ATTACKS = {
    "nothing": b"",
    "headers that do not end": b"GET / HTTP/1.1\r\nX: ",
    "one request": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a body that does not come": b"POST /v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n",
}


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is no address elsewhere")
@pytest.mark.parametrize("words", ATTACKS.values(), ids=ATTACKS)
def test_many_connections_of_one_address_do_not_affect_others(
    words: bytes, crowded: tuple[int, Path]
) -> None:
    port, home = crowded
    with ExitStack() as opened:
        for _ in range(MANY):
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            with suppress(ConnectionError):
                connection.sendall(words)
        for path in ("/health/live", "/v1/policies"):
            for _ in range(20):
                assert status(port, path, "127.0.0.2") == 200
        assert status(port, "/health/live", "127.0.0.1") == 200
        busy = words.startswith(b"POST")
        assert status(port, "/v1/policies", "127.0.0.1") == (503 if busy else 200)
    lines = [line for line in read_log(home) if line["level"] not in ("info", "debug")]
    assert {line["event"] for line in lines} == {"too many connections"}
    assert len(lines) == 1


def status(port: int, path: str, source: str) -> int:
    """The status of a response to a client at another address of this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15, source_address=(source, 0))
    with closing(connection):
        connection.request("GET", path, headers={"Host": "localhost"})
        response = connection.getresponse()
        body = response.read()
        if response.status == 503:
            assert b"server.connections" in body
            assert response.headers["Retry-After"]
        return response.status
