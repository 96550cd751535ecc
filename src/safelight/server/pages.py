"""Static pages beside the web UI: the sign-in page, the icon, and the redirect from the root."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from safelight.server.browsers import SIGN_IN
from safelight.server.state import Behind
from safelight.ui.paths import PATH

router = APIRouter(include_in_schema=False)

HTML, SCRIPT, STYLE, DRAWING = "text/html", "text/javascript", "text/css", "image/svg+xml"
FILES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        SIGN_IN: ("page.html", HTML),
        f"{SIGN_IN}/style.css": ("style.css", STYLE),
        f"{SIGN_IN}/script.js": ("script.js", SCRIPT),
        f"{SIGN_IN}/destination.js": ("destination.js", SCRIPT),
        f"{SIGN_IN}/texts.js": ("texts.js", SCRIPT),
        "/favicon.svg": ("lamp.svg", DRAWING),
        "/favicon.ico": ("lamp.svg", DRAWING),
    }
)
"""File of ``sign_in/`` and media type by path."""
OPEN_PAGES = frozenset(FILES)
"""Paths that need no key, so that users can sign in."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""The sign-in page's Content-Security-Policy: its own script and style, and calls to this server."""


@router.get("/")
async def root(behind: Behind) -> RedirectResponse:
    """Redirect to the web UI, or to the API's documentation if the web UI is off."""
    return RedirectResponse(f"{PATH}/" if behind.service.settings.studio else "/docs", 307)


def _page(name: str, kind: str) -> Callable[[], Awaitable[Response]]:
    async def answer() -> Response:
        return Response(_read(name), media_type=kind, headers={"Content-Security-Policy": POLICY})

    return answer


@cache
def _read(name: str) -> bytes:
    return files(__package__).joinpath("sign_in", name).read_bytes()


for _path, (_name, _kind) in FILES.items():
    router.add_api_route(_path, _page(_name, _kind))
