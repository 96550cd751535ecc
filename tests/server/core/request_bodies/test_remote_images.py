from __future__ import annotations

import _socket
import asyncio
import gzip
import ipaddress
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from safelight.errors import ImageTooManyBytesError, ImageUrlError
from safelight.server.core.executors.thread_pools import ThreadPools
from safelight.server.core.request_bodies import remote_images
from safelight.server.core.request_bodies.remote_images import Address, fetch_image, is_public

SEEN: dict[str, str] = {}


class Site(BaseHTTPRequestHandler):
    """A web site whose paths name the response's behaviour."""

    def do_GET(self) -> None:
        SEEN[self.path] = self.headers["Host"]
        what, _, rest = self.path[1:].partition("/")
        getattr(self, what)(rest)

    def bytes(self, count: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        for _ in range(int(count.partition("?")[0]) // 1000):
            self.wfile.write(b"x" * 1000)

    def to(self, url: str) -> None:
        self.send_response(302)
        self.send_header("Location", url)
        self.end_headers()

    def status(self, number: str) -> None:
        self.send_response(int(number))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def gzip(self, _: str) -> None:
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(gzip.compress(bytes(1_000_000)))

    def slow(self, _: str) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(100):
            self.wfile.write(b"x")
            time.sleep(0.1)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()


def resolve_name(host: str, port: int, **__: object) -> object:
    """Resolve addresses in every notation, and this machine's names; all other names are unknown, and no network is
    used."""
    if host != "localhost" and re.fullmatch(r"[0-9a-fx.:]+", host) is None:
        raise socket.gaierror(f"there is no {host}")
    return _socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)


@pytest.fixture(autouse=True)
def _names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolve_name)


def anywhere(_: Address) -> bool:
    return True


def get(url: str, **options: object) -> bytes:
    return asyncio.run(fetch_image(url, 100_000, ThreadPools(), **{"is_allowed": anywhere, **options}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "fec0::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:1::1",
        "2001:db8::1",
    ],
)
def test_addresses_that_are_not_global(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_global_addresses(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "0x7f000001", "2130706433", "127.1", "0"]
)
def test_this_machine_is_reached_under_no_name(site: str, host: str) -> None:
    port = site.rpartition(":")[2]
    with pytest.raises(ImageUrlError, match="no public host"):
        asyncio.run(fetch_image(f"http://{host}:{port}/bytes/1000", 100_000, ThreadPools()))
    assert "/bytes/1000" not in SEEN


def test_a_body_is_downloaded(site: str) -> None:
    assert get(f"{site}/bytes/5000#part") == b"x" * 5000
    assert SEEN["/bytes/5000"] == site.removeprefix("http://")


def test_the_connection_goes_to_the_checked_address(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    port = site.rpartition(":")[2]
    answers = iter(["127.0.0.1", "127.0.0.2", "127.0.0.3"])
    asked: list[str] = []
    checked: list[str] = []

    def look_up(host: str, port: int, **__: object) -> list[object]:
        asked.append(host)
        return [(2, 1, 6, "", (next(answers), port))]

    def permitted(address: Address) -> bool:
        checked.append(str(address))
        return True

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert get(f"http://rebinding.example:{port}/bytes/2000", is_allowed=permitted) == b"x" * 2000
    assert asked[0] == "rebinding.example"
    assert "rebinding.example" not in asked[1:]  # only the address itself is checked again
    assert checked == ["127.0.0.1"]
    assert SEEN["/bytes/2000"] == f"rebinding.example:{port}"


def test_redirects_are_followed_with_the_same_checks(site: str) -> None:
    port = site.rpartition(":")[2]
    assert get(f"{site}/to//bytes/3000") == b"x" * 3000

    def first_only(address: Address, seen: list[Address] = []) -> bool:  # noqa: B006
        seen.append(address)
        return len(seen) == 1

    with pytest.raises(ImageUrlError, match="no public host"):
        get(f"{site}/to/http://127.0.0.1:{port}/bytes/4000", is_allowed=first_only)
    assert "/bytes/4000" not in SEEN


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://localhost/x", "http://a:b@localhost/x", "http:///x"]
)
def test_redirects_to_forbidden_addresses(site: str, target: str) -> None:
    with pytest.raises(ImageUrlError):
        get(f"{site}/to/{target}")


def test_redirects_are_bounded(site: str) -> None:
    loop = "/".join(["to/"] * 6)
    with pytest.raises(ImageUrlError, match="too often"):
        get(f"{site}/{loop}/bytes/1000")


@pytest.mark.parametrize("number", [204, 404, 500])
def test_error_statuses(site: str, number: int) -> None:
    with pytest.raises(ImageUrlError, match=str(number)):
        get(f"{site}/status/{number}")


def test_a_body_beyond_the_limit_is_cut_off(site: str) -> None:
    with pytest.raises(ImageTooManyBytesError):
        get(f"{site}/bytes/10000000")


def test_compressed_responses_are_not_decompressed(site: str) -> None:
    with pytest.raises(ImageUrlError, match="compressed"):
        get(f"{site}/gzip/")


def test_slow_responses_time_out(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_images, "TIMEOUT", 0.5)
    with pytest.raises(ImageUrlError, match="TimeoutError"):
        get(f"{site}/slow/")


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://user:password@localhost/",
        "http://" + "a" * 300 + ".example/",
        "http://localhost:99999/",
        "http://local host/",
        "http://[::1/",
        "http://localhost/" + "a" * 3000,
        "ftp://localhost/",
    ],
)
def test_invalid_urls(url: str) -> None:
    with pytest.raises(ImageUrlError):
        get(url)


def test_a_refused_connection() -> None:
    with pytest.raises(ImageUrlError):
        get("http://127.0.0.1:1/")


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG])
def test_urls_are_not_logged(site: str, logged: Callable[[], list[object]], level: int) -> None:
    """Their query strings may hold secrets; this includes redirects."""
    logging.getLogger().setLevel(level)
    assert get(f"{site}/to//bytes/1000?token=of-a-visitor") == b"x" * 1000
    logging.getLogger("httpx2").warning("what the libraries warn of is")
    assert "of-a-visitor" not in json.dumps(logged())
    assert logged()[-1]["event"] == "what the libraries warn of is"  # type: ignore[index]


def test_names_are_resolved_in_separate_threads(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that is silent for long must not occupy threads that everything else needs."""
    asked: list[str] = []

    def noted(host: str, port: int, **rest: object) -> object:
        asked.append(threading.current_thread().name)
        return resolve_name(host, port, **rest)

    monkeypatch.setattr(socket, "getaddrinfo", noted)
    assert get(f"{site}/bytes/6000") == b"x" * 6000
    assert asked[0].startswith("names")
