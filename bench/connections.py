"""Measure how thousands of connections from one address affect requests of another: refusals and response times.

The server runs in its own process, once with 1,024 file descriptors and once with as many as the system allows. The
connections come from 127.0.0.1, from another process; the requests from 127.0.0.2, each over a new connection, half of
them with a key and a database query. Linux only: other systems do not have the address 127.0.0.2.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).parent
CROWD, OTHER = "127.0.0.1", "127.0.0.2"
GET = "GET {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\n"
ATTACKS = {
    "nothing": "no other connections",
    "idle": "nothing is sent",
    "half": "headers that do not end",
    "dripping": "headers that do not end, a byte each second",
    "kept": "one request, then nothing",
    "again": "nothing is sent, and what is closed is opened again at once",
    "slow body": "a key to sign in with that does not come",
    "unread": "50 connections that ask for /openapi.json 200 times each and read nothing",
}
"""What the attacking connections do."""
UNREAD = 50


@dataclass(frozen=True)
class AttackResult:
    """Response times of the other address's requests in milliseconds, and how many were not answered with 200."""

    descriptors: int
    attack: str
    opened: int
    kept: int
    requests: int
    refused: int
    p50: float
    p99: float
    longest: float
    warnings: int


def main() -> None:
    """Run the attacks, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=10.0, help="for which each attack is measured")
    parser.add_argument("--attacks", nargs="*", default=list(ATTACKS), choices=list(ATTACKS))
    parser.add_argument("--as-crowd", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    highest = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if given.as_crowd:
        attack, port, number, key = given.as_crowd
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, highest))
        ConnectionHolder(attack, int(port), int(number), key).run()
        return
    print(
        "| descriptors | attack | opened | kept | requests | refused | p50 ms | p99 ms | longest ms | warnings |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    rows = [
        measure_attack(attack, descriptors, given.connections, given.seconds)
        for descriptors in (1024, highest)
        for attack in given.attacks
    ]
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "connections.json").write_text(json.dumps([asdict(row) for row in rows]))


def measure_attack(attack: str, descriptors: int, number: int, seconds: float) -> AttackResult:
    """Measure another address's requests during an attack, and print the row."""
    with tempfile.TemporaryDirectory() as home, start_server(Path(home), descriptors) as (port, key):
        with crowd(attack, port, number, key) as kept:
            took, refused = send_requests(port, key, seconds)
        warnings = count_warnings(Path(home) / "log")
    cuts = statistics.quantiles(took, n=100)
    row = AttackResult(
        descriptors, attack, *kept, len(took) + refused, refused, cuts[49], cuts[98], max(took), warnings
    )
    print(
        f"| {row.descriptors} | {ATTACKS[attack]} | {row.opened} | {row.kept} | {row.requests} | {row.refused} "
        f"| {row.p50:.1f} | {row.p99:.1f} | {row.longest:.0f} | {row.warnings} |",
        flush=True,
    )
    return row


@contextmanager
def start_server(home: Path, descriptors: int) -> Iterator[tuple[int, str]]:
    """Start a server with a limit on file descriptors; yields its port and a key."""
    with socket.socket() as free:
        free.bind((CROWD, 0))
        port = free.getsockname()[1]
    environment = os.environ | {"SAFELIGHT_HOME": str(home), "SAFELIGHT_WEB_UI": "false"}
    environment |= {"SAFELIGHT_REQUESTS_PER_MINUTE": "0"}
    command = [sys.executable, "-m", "safelight"]
    made = subprocess.run([*command, "keys", "add", "anna"], env=environment, capture_output=True, check=True)
    key = made.stdout.decode().strip()

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, descriptors), descriptors))

    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "api", "--port", str(port)],
            env=environment,
            stderr=log,
            preexec_fn=bounded,  # noqa: PLW1509
        )
    try:
        deadline = time.monotonic() + 120
        while response_status(port, "/v1/session", key) != 200:
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(0.1)
        yield port, key
    finally:
        process.terminate()
        process.wait()


@contextmanager
def crowd(attack: str, port: int, number: int, key: str) -> Iterator[list[int]]:
    """Hold many connections open within the block; the list then has the numbers of opened and of remaining ones."""
    command = [sys.executable, __file__, "--as-crowd", attack, str(port), str(number), key]
    counts: list[int] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()  # printed when the connections are open
        try:
            yield counts
        finally:
            process.stdin.close()
            counts += map(int, process.stdout.readline().split())


def send_requests(port: int, key: str, seconds: float) -> tuple[list[float], int]:
    """Send requests; returns their times in milliseconds, and how many were not answered with 200."""
    took: list[float] = []
    refused = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for path in ("/health/live", "/v1/jobs?limit=1"):
            began = time.perf_counter()
            if response_status(port, path, key) == 200:
                took.append((time.perf_counter() - began) * 1e3)
            else:
                refused += 1
    return took, refused


def response_status(port: int, path: str, key: str) -> int:
    """The response status of a request over a new connection; 0 if there is no response."""
    connection = http.client.HTTPConnection(CROWD, port, timeout=30, source_address=(OTHER, 0))
    try:
        connection.request("GET", path, headers={"Host": "localhost", "X-API-Key": key})
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
    return response.status


def count_warnings(log: Path) -> int:
    """Number of lines in the server's log that are warnings or worse, or not in our format."""
    lines = log.read_text().splitlines()
    return sum(
        not line.startswith("{") or json.loads(line)["level"] not in ("debug", "info") for line in lines
    )


class ConnectionHolder:
    """Many connections from one address, held until stdin is closed.

    Args:
        attack: What the connections do, a key of ``ATTACKS``.
        port: The server's port.
        number: Number of connections.
        key: A user's key, for the attacks that need one.
    """

    def __init__(self, attack: str, port: int, number: int, key: str) -> None:
        self._attack, self._port, self._key = attack, port, key
        self._number = UNREAD if attack == "unread" else 0 if attack == "nothing" else number
        self._opened = 0
        self._connections: dict[socket.socket, None] = {}
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Open the connections, print a line, and hold them."""
        for _ in range(self._number):
            self._open_connection()
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        print(flush=True)
        dripped = time.monotonic()
        while True:
            for found, _ in self._selector.select(1.0):
                if found.fileobj is sys.stdin:
                    print(self._opened, len(self._connections))
                    return
                assert isinstance(found.fileobj, socket.socket)
                self._receive(found.fileobj)
            if self._attack in ("dripping", "slow body") and time.monotonic() - dripped > 1:
                dripped = time.monotonic()
                for connection in list(self._connections):
                    self._send(connection, b"x")

    def _open_connection(self) -> None:
        try:
            connection = socket.create_connection((CROWD, self._port), timeout=30, source_address=(CROWD, 0))
        except OSError:
            return
        self._opened += 1
        connection.setblocking(False)
        self._connections[connection] = None
        self._send(connection, self._initial_bytes())
        if self._attack != "unread":
            self._selector.register(connection, selectors.EVENT_READ)

    def _initial_bytes(self) -> bytes:
        """The bytes that are sent first."""
        head = GET.format(path="/health/live", key=self._key)
        return {
            "half": head,
            "dripping": f"{head}X-Drip: ",
            "kept": f"{head}\r\n",
            "slow body": "POST /v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            "Content-Length: 9999\r\n\r\n",
            "unread": f"{GET.format(path='/openapi.json', key=self._key)}\r\n" * 200,
        }.get(self._attack, "").encode()

    def _send(self, connection: socket.socket, words: bytes) -> None:
        try:
            connection.send(words)
        except BlockingIOError:
            pass
        except OSError:
            self._close(connection)

    def _receive(self, connection: socket.socket) -> None:
        try:
            if connection.recv(65536):
                return
        except OSError:
            pass
        self._close(connection)
        if self._attack == "again":
            self._open_connection()

    def _close(self, connection: socket.socket) -> None:
        if connection in self._connections:
            del self._connections[connection]
            if self._attack != "unread":
                with suppress(KeyError):
                    self._selector.unregister(connection)
            connection.close()


if __name__ == "__main__":
    main()
