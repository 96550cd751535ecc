"""Static pages beside the web UI: the sign-in page, the icon, and the redirect from the root."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from safelight.server.core.app_state import CurrentAppState
from safelight.server.security.browser_auth import SIGN_IN_PATH
from safelight.ui.paths import UI_PATH

router = APIRouter(include_in_schema=False)

HTML, SCRIPT, STYLE, SVG = "text/html", "text/javascript", "text/css", "image/svg+xml"
FILES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        SIGN_IN_PATH: ("page.html", HTML),
        f"{SIGN_IN_PATH}/style.css": ("style.css", STYLE),
        f"{SIGN_IN_PATH}/script.js": ("script.js", SCRIPT),
        f"{SIGN_IN_PATH}/destination.js": ("destination.js", SCRIPT),
        f"{SIGN_IN_PATH}/texts.js": ("texts.js", SCRIPT),
        "/favicon.svg": ("lamp.svg", SVG),
        "/favicon.ico": ("lamp.svg", SVG),
    }
)
"""File of ``sign_in/`` and media type by path."""
PUBLIC_PAGES = frozenset(FILES)
"""Paths that need no key, so that users can sign in."""
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""The sign-in page's Content-Security-Policy: its own script and style, and calls to this server."""


@router.get("/")
async def root(app_state: CurrentAppState) -> RedirectResponse:
    """Redirect to the web UI, or to the API's documentation if the web UI is off."""
    return RedirectResponse(f"{UI_PATH}/" if app_state.service.settings.web_ui else "/docs", 307)


def _page_endpoint(name: str, media_type: str) -> Callable[[], Awaitable[Response]]:
    async def answer() -> Response:
        return Response(
            _read(name), media_type=media_type, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY}
        )

    return answer


@cache
def _read(name: str) -> bytes:
    return files(__package__).joinpath("sign_in", name).read_bytes()


for _path, (_name, _kind) in FILES.items():
    router.add_api_route(_path, _page_endpoint(_name, _kind))
