from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from tests.jobs.worker_processes import wait_for

from safelight.jobs import health_probe
from safelight.jobs.health_probe import HealthProbe, _reachable_address


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_probe, "PROBE_INTERVAL", 0.01)
    monkeypatch.setattr(health_probe, "PROBE_TIMEOUT", 0.1)


class RefusingHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(503)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def asked() -> Iterator[HealthProbe]:
    """The URL of a port that nothing listens on yet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    asked = HealthProbe("127.0.0.1", port)
    asked.start()
    yield asked
    asked.stop()


def test_silence_grows_until_there_is_any_response(asked: HealthProbe) -> None:
    wait_for(lambda: asked.silent_seconds > 0.1)
    assert not asked.has_answered
    with HTTPServer((asked._host, asked._port), RefusingHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        wait_for(lambda: asked.has_answered and asked.silent_seconds == 0.0)
        server.shutdown()
        thread.join()
    wait_for(lambda: asked.silent_seconds > 0.1)


def test_a_server_that_accepts_and_never_responds_is_silent(asked: HealthProbe) -> None:
    with socket.create_server((asked._host, asked._port)):
        before = asked.silent_seconds
        wait_for(lambda: asked.silent_seconds > before + 0.3)
        assert not asked.has_answered


def test_a_server_that_closes_connections_is_alive(asked: HealthProbe) -> None:
    """As at the limit of connections from this machine's own address."""
    with socket.create_server((asked._host, asked._port)) as server:
        server.settimeout(0.02)

        def turn_away() -> None:
            with suppress(TimeoutError):
                server.accept()[0].close()

        def answered() -> bool:
            turn_away()
            return asked.has_answered

        wait_for(answered)


def test_time_in_which_the_probe_itself_was_stopped_does_not_count(
    asked: HealthProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10**9, 3600))  # an hour between any two probes
    monkeypatch.setattr(health_probe.time, "monotonic", lambda: float(next(clock)))
    before = asked.silent_seconds
    assert not asked._responds()
    asked._probe()
    assert asked.silent_seconds - before < 1.0


@pytest.mark.parametrize(
    ("host", "asked"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.1", "10.0.0.1"), ("localhost", "localhost")],
)
def test_the_probed_address(host: str, asked: str) -> None:
    assert _reachable_address(host) == asked
