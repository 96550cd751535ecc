"""The web UI as an ASGI application, which the server mounts at ``paths.UI_PATH``."""

from __future__ import annotations

import posixpath
import re
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import gradio as gr
from fastapi import FastAPI
from gradio.route_utils import BUILD_PATH_LIB
from starlette.datastructures import MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safelight import __version__
from safelight.generation.request import Control, Region
from safelight.ui.form_fields import controls_json
from safelight.ui.page import HEAD_HTML, STYLE_SHEETS, Translations, build_page
from safelight.ui.panels import PageContext
from safelight.ui.paths import STATIC_PATH, UI_PATH, SmallFiles
from safelight.ui.skeleton import skeleton_html
from safelight.ui.theme import build_theme

ALLOWED_PATHS = re.compile(
    r"/?|/(assets|static)(/[\w@-][\w.@-]*)+|/theme\.css|/config|/gradio_api/startup-events"
)
"""Paths under ``UI_PATH`` that the page requests; file names are plain.

Gradio's other paths (uploads, files, queue) are not used, so they answer 404.
"""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'{hashes}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' blob: data:; manifest-src 'self'; "
    "form-action 'self'; base-uri 'self'; frame-ancestors 'none'"
)
"""The content security policy: everything is loaded from the same origin.

Gradio compiles its event handlers from strings, hence ``unsafe-eval``. Inline scripts run only if they were in the page
when it was sent: the policy lists their hashes.
"""
GRADIO_ELEMENT = b"<gradio-app"
"""Start of the element that Gradio's scripts fill."""
STATIC_IMPORT = re.compile(r"^(?:import|export) [^;\n]*from \"(\.[^\"\n]+)\";$", re.MULTILINE)
"""An import at the start of a script, in the way in which ours are written."""
INLINE_SCRIPT = re.compile(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)
IMMUTABLE, REVALIDATE = "private, max-age=31536000, immutable", "private, no-cache"
CACHEABLE_STATUSES = frozenset({200, 206, 304})
"""Statuses of existing files; other responses must not be cached as immutable."""


def create_ui_app(samplers: Sequence[str], schedules: Sequence[str]) -> ASGIApp:
    """Create the application; importing this module and calling this takes seconds.

    Args:
        samplers: Names of samplers to choose from.
        schedules: Names of schedules to choose from.
    """
    translations = Translations()
    inner = FastAPI(openapi_url=None)
    inner.mount("/assets", SmallFiles(directory=BUILD_PATH_LIB))  # before Gradio's own route
    gr.mount_gradio_app(
        inner,
        build_page(PageContext(samplers, schedules, translations)),
        path="/",
        root_path=UI_PATH,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        show_error=False,
        theme=build_theme(),
        i18n=translations.i18n,
    )
    return RestrictedGradio(inner, _head_html(), skeleton_html(translations))


def _head_html() -> str:
    """Our elements in the page's head: style sheets, data of the form, and scripts."""
    static = Path(str(files(__package__).joinpath("static")))
    styles = [
        f'<link rel="stylesheet" href="{STATIC_PATH}/{name}.css?{__version__}">' for name in STYLE_SHEETS
    ]
    modules = [
        f'<link rel="modulepreload" href="{STATIC_PATH}/{path}">'
        for path in imported_modules(static, "main.js")
    ]
    return HEAD_HTML.format(
        static=STATIC_PATH,
        version=__version__,
        styles="\n".join(styles),
        modules="\n".join(modules),
        fields=controls_json(),
        unit_fields=controls_json(Control),
        region_fields=controls_json(Region),
    )


def imported_modules(folder: Path, entry: str) -> list[str]:
    """Paths below a folder of all modules that a module imports, in the order in which a browser finds them."""
    found = {entry: None}
    for module in (queue := [entry]):
        for name in STATIC_IMPORT.findall((folder / module).read_text("utf-8")):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(module), name))
            if path not in found:
                found[path] = None
                queue.append(path)
    return list(found)[1:]


class RestrictedGradio:
    """Pass only GET and HEAD requests for what the page needs to Gradio, and insert our elements into its ``<head>``.

    Args:
        app: Gradio's application.
        head: HTML for the start of ``<head>``. Gradio itself would insert it after its own scripts have run, which is
            too late for the language and the theme.
        skeleton: HTML before Gradio's element, which is empty until its scripts have run.
    """

    def __init__(self, app: ASGIApp, head: str, skeleton: str = "") -> None:
        self._app, self._head, self._skeleton = app, head.encode(), skeleton.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        path = scope["path"].removeprefix(UI_PATH)
        scope["query_string"] = b""  # Gradio would look up pages and saved states by it, which we do not have
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["method"] not in ("GET", "HEAD") or not ALLOWED_PATHS.fullmatch(path):
            await PlainTextResponse("Not found", 404)(scope, receive, send)
        elif path in ("", "/"):
            await self._send_page(scope, receive, send)
        else:
            cache_control = IMMUTABLE if path.startswith("/assets/") else REVALIDATE
            await self._app(
                scope, receive, _with_headers(send, cache_control, CONTENT_SECURITY_POLICY.format(hashes=""))
            )

    async def _send_page(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
        start: Message = {}
        body = b""

        async def collect(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
            else:
                body += message.get("body", b"")

        await self._app({**scope, "method": "GET", "headers": headers}, receive, collect)
        page = body.replace(b"<head>", b"<head>" + self._head, 1)
        before, element, after = page.rpartition(GRADIO_ELEMENT)
        page = before + (self._skeleton if element else b"") + element + after
        response = HTMLResponse(page, start["status"])
        await response(scope, receive, _with_headers(send, REVALIDATE, content_security_policy(page)))


def content_security_policy(page: bytes) -> str:
    """The content security policy of a page with inline scripts."""
    hashes = (b64encode(sha256(script).digest()).decode() for script in INLINE_SCRIPT.findall(page))
    return CONTENT_SECURITY_POLICY.format(hashes="".join(f" 'sha256-{each}'" for each in hashes))


def _with_headers(send: Send, cache_control: str, csp: str) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Content-Security-Policy"] = csp
            headers["Cache-Control"] = (
                cache_control if message["status"] in CACHEABLE_STATUSES else REVALIDATE
            )
        await send(message)

    return send_with_headers
