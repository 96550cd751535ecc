"""Authentication of browsers: redirects to the sign-in page, and challenges that open no login dialog."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import Message, Scope, Send

from safelight.server.security.credentials import session_token
from safelight.ui.paths import STATIC_PATH, UI_PATH

SESSION_PATH = "/v1/session"
SIGN_IN_PATH = "/sign-in"
PAGE_ASSETS = (f"{UI_PATH}/assets/", f"{UI_PATH}/static/", f"{STATIC_PATH}/")
"""Path prefixes of the web UI's scripts, styles and fonts: Gradio's and our own."""
BEARER_CHALLENGE = 'Bearer realm="safelight"'
"""The challenge of a 401 for pages: for Basic, a browser would open its own login dialog over the sign-in page."""


def is_page_asset(scope: Scope) -> bool:
    """Whether a request is for an asset of the web UI's page, which loads about a hundred of them."""
    return scope.get("method") in ("GET", "HEAD") and scope["path"].startswith(PAGE_ASSETS)


def is_page_visit(scope: Scope) -> bool:
    """Whether a browser navigates to the web UI."""
    path = scope["path"]
    is_ui = path in ("/", UI_PATH) or path.startswith(f"{UI_PATH}/")
    return is_ui and scope.get("method") == "GET" and _accepts_html(Headers(scope=scope))


def sign_in_redirect(scope: Scope) -> RedirectResponse:
    """A redirect to the sign-in page, which returns to this path; use it for page visits only (no open redirect)."""
    query = scope.get("query_string", b"").decode("latin-1")
    target = quote(scope["path"]) + (f"?{query}" if query else "")
    return RedirectResponse(f"{SIGN_IN_PATH}?{urlencode({'next': target})}", 303)


def without_basic_challenge(scope: Scope, send: Send) -> Send:
    """Remove Basic from the challenge of a 401 that a page reads; a direct navigation to an API path keeps it."""
    headers = Headers(scope=scope)
    has_page = session_token(scope) is not None or headers.get("sec-fetch-mode") is not None
    if scope["path"] != SESSION_PATH and (_accepts_html(headers) or not has_page):
        return send

    async def send_with_challenge(message: Message) -> None:
        if message["type"].endswith("http.response.start") and message["status"] == 401:
            MutableHeaders(scope=message)["WWW-Authenticate"] = BEARER_CHALLENGE
        await send(message)

    return send_with_challenge


def _accepts_html(headers: Headers) -> bool:
    return "text/html" in headers.get("accept", "").lower()
