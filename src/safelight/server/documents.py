"""The OpenAPI document, and the Swagger UI page with all of its assets: nothing is loaded from another host."""

from __future__ import annotations

import asyncio
import json
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, Response

from safelight import __version__
from safelight.server.credentials import COOKIE
from safelight.server.guard import OPEN_PATHS
from safelight.server.routes.common import same_as_before

router = APIRouter(include_in_schema=False)

ABOUT = """Draws and judges pictures on this machine. Three families share one queue: our own under `/v1`, OpenAI's
under `/v1/images`, and A1111's under `/sdapi`. With keys, every request carries one."""
JSON = "application/json"
SECURITY: dict[str, dict[str, str]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of `safelight keys add`."},
    "basic": {"type": "http", "scheme": "basic", "description": "The key's name and the key."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "A key."},
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "A browser's, which `POST /v1/session` gives for a key.",
    },
}
PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Safelight</title><link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="page"></div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body>
</html>
"""
START = """SwaggerUIBundle({url: "/openapi.json", dom_id: "#page", validatorUrl: null, deepLinking: true});
"""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's Content-Security-Policy: Swagger UI sets styles and calls this server."""


@router.get("/docs")
async def page() -> HTMLResponse:
    """The Swagger UI page."""
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})


@router.get("/docs/start.js")
async def start() -> Response:
    """The script that starts Swagger UI."""
    return Response(START, media_type="text/javascript")


@router.get("/docs/swagger-ui-bundle.js")
async def script() -> Response:
    """Swagger UI's code."""
    return Response(_asset("swagger-ui-bundle.js"), media_type="text/javascript")


@router.get("/docs/swagger-ui.css")
async def style() -> Response:
    """Swagger UI's styles."""
    return Response(_asset("swagger-ui.css"), media_type="text/css")


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """The OpenAPI document; the first request builds it."""
    document: Rendered = request.app.state.document
    data, tag = await document.get()
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if same_as_before(request, tag):
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=JSON, headers=headers)


@cache
def _asset(name: str) -> bytes:
    return files("fastapi_swagger").joinpath("resources", name).read_bytes()


class Rendered:
    """The serialized document, built once, at the first request.

    Args:
        app: The application that the document describes.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._making = asyncio.Lock()
        self._made: tuple[bytes, str] | None = None

    async def get(self) -> tuple[bytes, str]:
        """The document's bytes and their ETag."""
        async with self._making:
            if self._made is None:
                self._made = await asyncio.to_thread(self._make)
            return self._made

    def _make(self) -> tuple[bytes, str]:
        data = json.dumps(self._app.openapi(), ensure_ascii=False, separators=(",", ":")).encode()
        return data, f'"{sha256(data).hexdigest()[:32]}"'


def install(app: FastAPI) -> None:
    """Add the document, its page and the security schemes to an application."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI documents it
    app.state.document = Rendered(app)
    app.include_router(router)


def _document(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(title=app.title, version=__version__, description=ABOUT, routes=app.routes)
    found.setdefault("components", {})["securitySchemes"] = SECURITY
    # the empty requirement: without keys, requests need no credentials
    found["security"] = [{}, *({name: []} for name in SECURITY)]
    for path, operations in found["paths"].items():
        for operation in operations.values():
            _correct_errors(operation["responses"])
            if path in OPEN_PATHS:
                operation["security"] = []
    return found


def _correct_errors(responses: dict[str, Any]) -> None:
    """Set the media type of errors to JSON: FastAPI gives them that of the route's response."""
    for status, response in responses.items():
        bodies = list(response.get("content", {}).values())
        if bodies and not status.startswith(("2", "3")):
            response["content"] = {JSON: bodies[0]}
