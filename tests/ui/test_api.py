"""Requests of the page's scripts to our API when the connection fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Page

ASK = """async ([name, url, method]) => {
    const { ApiError, read, readBlob, request } = await import("/core/api.js");
    try {
        const response = await request("GET", url);
        await { read, readBlob }[name](response);
    } catch (error) {
        return [error instanceof ApiError, error.code, error.status, String(error)];
    }
}"""


class BrokenHandler(BaseHTTPRequestHandler):
    """A handler that closes the connection before its response is complete."""

    def do_GET(self) -> None:
        if self.path == "/body":
            self.wfile.write(
                b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 100\r\n\r\n{"
            )

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return


@pytest.fixture(scope="module")
def broken_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BrokenHandler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("path", ["/status", "/body"])
@pytest.mark.parametrize("name", ["read", "readBlob"])
def test_a_connection_that_breaks_off_is_reported_as_offline(
    page: Page, static_url: str, broken_url: str, path: str, name: str
) -> None:
    page.goto(f"{static_url}/core/api.js")  # any page of the origin
    assert page.evaluate(ASK, [name, broken_url + path]) == [True, "page.offline", 0, "Error"]
