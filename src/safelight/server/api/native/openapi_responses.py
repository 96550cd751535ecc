"""OpenAPI descriptions of our own routes: responses with examples, errors, forms."""

from __future__ import annotations

from typing import Any

from safelight.errors import (
    BodyInvalidError,
    DatabaseBusyError,
    KeyInvalidError,
    KeyRequiredError,
    OriginRefusedError,
    QuotaError,
    RateLimitError,
    SafelightError,
    ServerStartingError,
)
from safelight.file_formats import FileFormat
from safelight.server.api.native.errors import NativeErrorBody
from safelight.server.core.content_negotiation import JSON, media_type

Responses = dict[int | str, dict[str, Any]]
COMMON_ERRORS: tuple[type[SafelightError], ...] = (
    KeyRequiredError,
    KeyInvalidError,
    OriginRefusedError,
    BodyInvalidError,
    RateLimitError,
    QuotaError,
    ServerStartingError,
    DatabaseBusyError,
)
"""Errors that every route can raise."""
BINARY = {"type": "string", "format": "binary"}


def error_responses(*error_types: type[SafelightError]) -> Responses:
    """The error responses of a route by status, each with an example; errors that every route can raise are added."""
    described: Responses = {}
    for kind in (*error_types, *COMMON_ERRORS):
        body = described.setdefault(
            kind.http_status,
            {"model": NativeErrorBody, "description": "", "content": {JSON: {"examples": {}}}},
        )
        body["description"] = f"{body['description']} {kind.summary}".strip()
        body["content"][JSON]["examples"][kind.code] = {"value": {"error": kind().to_dict()}}
    return described


def example_response(example: object, status: int = 200, **more: Any) -> Responses:
    """The response of a route, with an example."""
    return {status: {"content": {JSON: {"example": example}}} | more}


def image_responses(*file_formats: FileFormat, json_example: object = None) -> Responses:
    """The response of a route that returns an image, or JSON as in an example where the client prefers it."""
    content: dict[str, Any] = {media_type(kind): {"schema": BINARY} for kind in file_formats}
    if json_example is not None:
        content[JSON] = {"example": json_example}
    return {
        200: {"description": "The picture.", "content": content},
        304: {"description": "The picture has not changed."},
    }


def multipart_body(*image_fields: str, other_fields: bool = True) -> dict[str, Any]:
    """A body as a multipart form, beside the JSON body that a route declares.

    Args:
        image_fields: Fields that hold images; ``images`` holds several.
        other_fields: Whether there are other fields, which the part ``request`` holds.
    """
    parts: dict[str, Any] = dict.fromkeys(image_fields, BINARY)
    if "images" in parts:
        parts["images"] = {"type": "array", "items": BINARY}
    schema: dict[str, Any] = {"type": "object", "properties": parts}
    if other_fields:
        parts["request"] = {"type": "string", "description": "All other fields, as JSON."}
        schema["required"] = ["request"]
    return {"multipart/form-data": {"schema": schema}}
