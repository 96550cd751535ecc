"""What is different where a browser asks: people are sent to sign in, and see no window but our own."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import Message, Scope, Send

from safelight.server.credentials import session_of
from safelight.ui.paths import PATH, STATIC

SESSION = "/v1/session"
SIGN_IN = "/sign-in"
PARTS = (f"{PATH}/assets/", f"{PATH}/static/", f"{STATIC}/")
"""Where the studio's scripts, styles and fonts are: Gradio's and our own."""
CHALLENGE = 'Bearer realm="safelight"'
"""What a 401 says to a page: of Basic, browsers would make a window of their own over the page that is about to ask."""


def is_part_of_page(scope: Scope) -> bool:
    """Whether a request is for one of the files that the studio's page is made of: a hundred of them are one visit."""
    return scope.get("method") in ("GET", "HEAD") and scope["path"].startswith(PARTS)


def is_visit(scope: Scope) -> bool:
    """Whether somebody opens the studio in a browser."""
    path = scope["path"]
    ours = path in ("/", PATH) or path.startswith(f"{PATH}/")
    return ours and scope.get("method") == "GET" and _wants_page(Headers(scope=scope))


def to_sign_in(scope: Scope) -> RedirectResponse:
    """Where somebody signs in, who then comes back; to be used for visits only, whose paths lead nowhere else."""
    query = scope.get("query_string", b"").decode("latin-1")
    back = quote(scope["path"]) + (f"?{query}" if query else "")
    return RedirectResponse(f"{SIGN_IN}?{urlencode({'next': back})}", 303)


def without_window(scope: Scope, send: Send) -> Send:
    """Have a 401 offer no Basic where a page reads it: whoever opens an address themselves may still use that."""
    headers = Headers(scope=scope)
    told = session_of(scope) is not None or headers.get("sec-fetch-mode") is not None
    if scope["path"] != SESSION and (_wants_page(headers) or not told):
        return send

    async def sent(message: Message) -> None:
        if message["type"].endswith("http.response.start") and message["status"] == 401:
            MutableHeaders(scope=message)["WWW-Authenticate"] = CHALLENGE
        await send(message)

    return sent


def _wants_page(headers: Headers) -> bool:
    return "text/html" in headers.get("accept", "").lower()
