"""The mount between a browser and Gradio, without a browser; and Gradio's page itself, without a server."""

from __future__ import annotations

import pytest
from starlette.types import ASGIApp
from tests.asgi_requests import RecordingApp, request, run_in_thread

from safelight.ui.mount import IMMUTABLE, REVALIDATE, RestrictedGradio, content_security_policy, create_ui_app

HEAD = "<script src='ours.js'></script>"


def request_through_mount(inner: ASGIApp) -> RestrictedGradio:
    return RestrictedGradio(inner, HEAD)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/config",
        "/theme.css",
        "/gradio_api/startup-events",
        "/assets/index-B_x1.js",
        "/static/fonts/Source-Sans/a@2.woff2",
    ],
)
def test_resources_of_the_page_are_served(path: str) -> None:
    inner = RecordingApp()
    answer = request(request_through_mount(inner), f"/studio{path}")
    assert (answer.status, len(inner.scopes)) == (200, 1)
    content = answer.headers["content-security-policy"]
    assert "script-src 'self' 'unsafe-eval'" in content
    assert "unsafe-inline" not in content.partition("style-src")[0]


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../etc/passwd",
        "/static/..",
        "/assets/./x",
        "/assets/.hidden",
        "/static/%2e%2e/%2e%2e/etc/passwd",
        "/static/..%2f..%2fetc%2fpasswd",
        "/static/..\\..\\etc\\passwd",
        "/static/x\\y",
        "/static//etc/passwd",
        "/assets/x//y",
        "//assets/x",
        "/assets//",
        "/assets/",
        "/assets/x/",
        "/assets/C:/x",
        "/assets/x\n",
        "/assets/x\0",
        "/config/",
        "/theme.css/x",
        "/gradio_api/info",
        "/gradio_api/queue/join",
        "/gradio_api/file=/etc/passwd",
        "/monitoring",
        "/favicon.ico",
    ],
)
def test_nothing_else_reaches_gradio(path: str) -> None:
    """As a server decodes the path once: double escapes are still escaped here."""
    inner = RecordingApp()
    assert request(request_through_mount(inner), f"/studio{path}").status == 404
    assert not inner.scopes


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_only_reads_reach_gradio(method: str) -> None:
    inner = RecordingApp()
    for path in ("/studio/", "/studio/config", "/studio/assets/x.js"):
        assert request(request_through_mount(inner), path, method=method).status == 404
    assert not inner.scopes


def test_no_websocket_is_opened() -> None:
    inner = RecordingApp()
    answer = request(request_through_mount(inner), "/studio/", type="websocket")
    assert answer.messages == [{"type": "websocket.close", "code": 1000}]
    assert not inner.scopes


@pytest.mark.parametrize("path", ["/studio/", "/studio", "/studio/config", "/studio/assets/x.js"])
def test_gradio_sees_no_query_string(path: str) -> None:
    inner = RecordingApp()
    request(request_through_mount(inner), path, query_string=b"page=x&deep_link=y")
    assert inner.scopes[0]["query_string"] == b""


def test_our_head_is_first_in_the_page() -> None:
    inner = RecordingApp([b"<html><he", b"ad><title>x</title></head>", b"<body><head></html>"])
    headers = [(b"accept-encoding", b"gzip"), (b"accept", b"text/html")]
    answer = request(request_through_mount(inner), "/studio/", headers=headers)
    assert answer.body.decode() == f"<html><head>{HEAD}<title>x</title></head><body><head></html>"
    assert answer.headers["cache-control"] == REVALIDATE
    assert answer.headers["content-length"] == str(len(answer.body))
    assert inner.scopes[0]["headers"] == [(b"accept", b"text/html")], "what is packed cannot be added to"


def test_the_head_of_the_page_alone() -> None:
    inner = RecordingApp([b"<head></head>"])
    answer = request(request_through_mount(inner), "/studio/", method="HEAD")
    assert (answer.status, inner.scopes[0]["method"]) == (200, "GET")


@pytest.mark.parametrize("status", [200, 206, 304])
def test_files_with_content_hashes_in_their_names_are_cached(status: int) -> None:
    inner = RecordingApp(status=status)
    assert request(request_through_mount(inner), "/studio/assets/x.js").headers["cache-control"] == IMMUTABLE
    for path in ("/studio/static/x.js", "/studio/theme.css", "/studio/config"):
        assert request(request_through_mount(inner), path).headers["cache-control"] == REVALIDATE


@pytest.mark.parametrize("status", [301, 403, 404, 416, 500, 503])
def test_errors_are_not_cached(status: int) -> None:
    answer = request(request_through_mount(RecordingApp(status=status)), "/studio/assets/x.js")
    assert (answer.status, answer.headers["cache-control"]) == (status, REVALIDATE)


@pytest.fixture(scope="module")
def page() -> ASGIApp:
    """Gradio's page as it is served."""

    async def load() -> ASGIApp:  # as in the server: without a running loop, Gradio leaves one open
        return create_ui_app(["Euler"], ["karras"])

    return run_in_thread(load())


HOST = [(b"host", b"127.0.0.1:8000")]


@pytest.mark.parametrize("query", [b"", b"page=x", b"deep_link=x", b"deep_link=../x&page=create"])
def test_every_path_gives_the_same_page(page: ASGIApp, query: bytes) -> None:
    answers = [
        request(page, path, query_string=given, headers=HOST, root_path="", scheme="http")
        for path in ("/studio/", "/studio/config")
        for given in (b"", query)
    ]
    assert [answer.status for answer in answers] == [200] * 4
    assert b"/studio/static/main.js" in answers[1].body or b"main.js" in answers[1].body
    assert b"deep_link_state" not in answers[3].body


def test_a_missing_file(page: ASGIApp) -> None:
    answer = request(page, "/studio/assets/none.js", headers=HOST, root_path="", scheme="http")
    assert (answer.status, answer.headers["cache-control"]) == (404, REVALIDATE)


def test_inline_scripts_are_allowed_by_their_hashes() -> None:
    """The hash of the example in the CSP 3 standard."""
    page = (
        b"<script src='a.js'></script><script>alert('Hello, world.');</script>"
        b"<script type='module' crossorigin src='b.js'></script><script data-x>\n1</script>"
    )
    content = content_security_policy(page)
    assert content.count("sha256-") == 2
    assert "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='" in content
