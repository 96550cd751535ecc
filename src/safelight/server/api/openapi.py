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
from safelight.server.core.etags import etag_matches
from safelight.server.security.bind_policy import PUBLIC_PATHS
from safelight.server.security.credentials import SESSION_COOKIE

router = APIRouter(include_in_schema=False)

DESCRIPTION = """Draws and judges pictures on this machine. Three API families share one queue: our own under `/v1`,
OpenAI's under `/v1/images`, and A1111's under `/sdapi`. With keys, every request carries one."""
JSON = "application/json"
SECURITY_SCHEMES: dict[str, dict[str, str]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of `safelight keys add`."},
    "basic": {"type": "http", "scheme": "basic", "description": "The key's name and the key."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "A key."},
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": SESSION_COOKIE,
        "description": "A browser's, which `POST /v1/session` gives for a key.",
    },
}
DOCS_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Safelight</title><link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="page"></div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body>
</html>
"""
DOCS_SCRIPT = """SwaggerUIBundle({url: "/openapi.json", dom_id: "#page", validatorUrl: null, deepLinking: true});
"""
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's Content-Security-Policy: Swagger UI sets styles and calls this server."""


@router.get("/docs")
async def docs_page() -> HTMLResponse:
    """The Swagger UI page."""
    return HTMLResponse(DOCS_PAGE, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})


@router.get("/docs/start.js")
async def docs_script() -> Response:
    """The script that starts Swagger UI."""
    return Response(DOCS_SCRIPT, media_type="text/javascript")


@router.get("/docs/swagger-ui-bundle.js")
async def swagger_script() -> Response:
    """Swagger UI's code."""
    return Response(_asset("swagger-ui-bundle.js"), media_type="text/javascript")


@router.get("/docs/swagger-ui.css")
async def swagger_style() -> Response:
    """Swagger UI's styles."""
    return Response(_asset("swagger-ui.css"), media_type="text/css")


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """The OpenAPI document; the first request builds it."""
    document: OpenApiDocument = request.app.state.document
    data, tag = await document.get()
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if etag_matches(request, tag):
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=JSON, headers=headers)


@cache
def _asset(name: str) -> bytes:
    return files("fastapi_swagger").joinpath("resources", name).read_bytes()


class OpenApiDocument:
    """The serialized document, built once, at the first request.

    Args:
        app: The application that the document describes.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._lock = asyncio.Lock()
        self._rendered: tuple[bytes, str] | None = None

    async def get(self) -> tuple[bytes, str]:
        """The document's bytes and their ETag."""
        async with self._lock:
            if self._rendered is None:
                self._rendered = await asyncio.to_thread(self._render)
            return self._rendered

    def _render(self) -> tuple[bytes, str]:
        data = json.dumps(self._app.openapi(), ensure_ascii=False, separators=(",", ":")).encode()
        return data, f'"{sha256(data).hexdigest()[:32]}"'


def install(app: FastAPI) -> None:
    """Add the document, its page and the security schemes to an application."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _build_document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI documents it
    app.state.document = OpenApiDocument(app)
    app.include_router(router)


def _build_document(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(title=app.title, version=__version__, description=DESCRIPTION, routes=app.routes)
    schema.setdefault("components", {})["securitySchemes"] = SECURITY_SCHEMES
    # the empty requirement: without keys, requests need no credentials
    schema["security"] = [{}, *({name: []} for name in SECURITY_SCHEMES)]
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            _correct_errors(operation["responses"])
            if path in PUBLIC_PATHS:
                operation["security"] = []
    return schema


def _correct_errors(responses: dict[str, Any]) -> None:
    """Set the media type of errors to JSON: FastAPI gives them that of the route's response."""
    for status, response in responses.items():
        bodies = list(response.get("content", {}).values())
        if bodies and not status.startswith(("2", "3")):
            response["content"] = {JSON: bodies[0]}
