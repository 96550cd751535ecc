"""The mount between a browser and Gradio, without a browser; and Gradio's page itself, without a server."""

from __future__ import annotations

import gzip

import pytest
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp
from tests.asgi_requests import RecordingApp, request, run_in_thread

from safelight.ui.mount import IMMUTABLE, REVALIDATE, RestrictedGradio, content_security_policy, create_ui_app
from safelight.ui.paths import UiStaticFiles

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


def test_the_skeleton_is_before_gradios_element() -> None:
    inner = RecordingApp(
        [b"<head><script>'<gradio-app'</script></head><body><gradio-app></gradio-app></body>"]
    )
    answer = request(RestrictedGradio(inner, "", "<p>Safelight</p>"), "/studio/")
    assert answer.body.endswith(b"</head><body><p>Safelight</p><gradio-app></gradio-app></body>")


def test_all_scripts_that_the_page_starts_with_are_known_at_once(page: ASGIApp) -> None:
    served = request(page, "/studio/", headers=HOST, root_path="", scheme="http").body.decode()
    head = served.partition("window.gradio_config")[0]
    for name in ("main.js", "core/api.js", "form/view.js", "stage/cell.js"):
        assert f"/studio/safelight/{name}" in head
    assert "gallery.js" not in head, "what is loaded later is not loaded now"
    assert len(served) < 60_000, "Gradio gets the texts that it shows, not the catalogues"


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


@pytest.mark.parametrize("name", ["none.js", "x" * 300 + ".js"])
def test_a_missing_file(page: ASGIApp, name: str) -> None:
    answer = request(page, f"/studio/assets/{name}", headers=HOST, root_path="/studio", scheme="http")
    assert (answer.status, answer.headers["cache-control"]) == (404, REVALIDATE)


@pytest.mark.parametrize("name", ["none.css", "none\0.css", "x" * 300, "form", "../page.py", "..%2fpage.py"])
def test_static_files_are_those_of_the_folder(name: str) -> None:
    served = UiStaticFiles()
    answer = request(served, "/form.css", root_path="")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert answer.headers["cache-control"] == "private, no-cache"
    accepted = (b"accept-encoding", b"gzip, br")
    packed = request(served, "/form.css", root_path="", headers=[accepted])
    assert gzip.decompress(packed.body) == answer.body
    assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert packed.headers["content-length"] == str(len(packed.body))
    assert packed.headers["etag"] != answer.headers["etag"]
    known = [(b"if-none-match", packed.headers["etag"].encode()), accepted]
    assert request(served, "/form.css", root_path="", headers=known).status == 304
    known = [(b"if-none-match", answer.headers["etag"].encode())]
    assert request(served, "/form.css", root_path="", headers=known).status == 304
    with pytest.raises(HTTPException) as raised:
        request(served, f"/{name}", root_path="")
    assert raised.value.status_code == 404
    with pytest.raises(HTTPException):
        request(served, "/form.css", root_path="", method="POST")


def test_inline_scripts_are_allowed_by_their_hashes() -> None:
    """The hash of the example in the CSP 3 standard."""
    page = (
        b"<script src='a.js'></script><script>alert('Hello, world.');</script>"
        b"<script type='module' crossorigin src='b.js'></script><script data-x>\n1</script>"
    )
    content = content_security_policy(page)
    assert content.count("sha256-") == 2
    assert "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='" in content
