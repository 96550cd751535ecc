"""Route classes that parse JSON, multipart and binary bodies into the same fields.

A route declares one pydantic model, which the OpenAPI document shows. Its images are text in JSON and bytes in a
multipart form or in a body that is one image file.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Collection, Coroutine
from functools import cached_property
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import UploadFile

from safelight.errors import BodyInvalidError, UnsupportedMediaTypeError
from safelight.images.fields import image_fields, models_in
from safelight.server.core.app_state import AppState
from safelight.server.core.executors.image_executor import ImageCost
from safelight.server.core.request_bodies.json_limits import json_error
from safelight.server.core.request_bodies.large_json import loads

MULTIPART, JSON = "multipart/form-data", "application/json"
URLENCODED = "application/x-www-form-urlencoded"
BINARY_TYPES = ("image/", "application/octet-stream")
REQUEST_PART = "request"
MAX_FILES = 1000
_NESTED = re.compile(r"(\w{1,50})\[(\d{1,3})\]\.(\w{1,50})", re.ASCII)
"""The name of a part for an image within a list of the request, such as ``references[0].image``."""
SMALL = 256 * 1024
"""Bytes of JSON above which it is parsed in a thread."""
MAX_REQUEST_PART = 1024 * 1024
"""Maximum bytes of a form's JSON part; Starlette has the same limit for parts that are no files."""

Fields = dict[str, Any]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class JsonRoute(APIRoute):
    """A route that parses large JSON outside the event loop and drops the raw bytes afterwards."""

    def get_route_handler(self) -> Handler:
        """FastAPI's handler, called with a request whose JSON is parsed."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            return await handle(await self._with_json(request))

        return handler

    async def _with_json(self, request: Request) -> Request:
        return (
            request
            if self.body_field is None or media_type_of(request) != JSON
            else await _with_parsed_json(request)
        )


class PageFormRoute(JsonRoute):
    """A route that also accepts the usual form of a page: each of its fields is a list of values."""

    async def _with_json(self, request: Request) -> Request:
        media_type = media_type_of(request)
        if media_type == JSON or self.body_field is None:
            return await super()._with_json(request)
        if media_type != URLENCODED:
            raise UnsupportedMediaTypeError(
                f"A body of the type {media_type or 'none'!r} cannot be read here."
            )
        async with request.form() as form:
            return _ParsedRequest(request, {name: form.getlist(name) for name in form})


class FormRoute(JsonRoute):
    """A route that also accepts forms: each image is a part named after its field, the rest is JSON in ``request``.

    An image within a list is named by its place: ``references[0].image``.
    """

    accepts_binary = False

    @cached_property
    def _lists(self) -> frozenset[str]:
        """The body's fields that hold several pictures, one part of the form each."""
        assert self.body_field is not None
        fields = (image_fields(model) for model in models_in(self.body_field.field_info.annotation))
        return frozenset(name for each in fields for name, several in each.items() if several)

    async def _with_json(self, request: Request) -> Request:
        media_type = media_type_of(request)
        if media_type == JSON or self.body_field is None:
            return await super()._with_json(request)
        if media_type == MULTIPART:
            return _ParsedRequest(request, await _read_form(request, self._lists))
        if self.accepts_binary and media_type.startswith(BINARY_TYPES):
            return _ParsedRequest(request, {"image": await request.body()})
        raise UnsupportedMediaTypeError(f"A body of the type {media_type or 'none'!r} cannot be read here.")


class ImageRoute(FormRoute):
    """A route that also accepts the bytes of one image file as its body."""

    accepts_binary = True


class _ParsedRequest(Request):
    """A request whose JSON is parsed already."""

    def __init__(self, request: Request, fields: Any) -> None:
        others = [pair for pair in request.scope["headers"] if pair[0] != b"content-type"]
        headers = [*others, (b"content-type", JSON.encode())]
        super().__init__(dict(request.scope) | {"headers": headers}, request.receive)
        self._fields = fields

    async def body(self) -> bytes:
        """A placeholder that says that there is a body."""
        return b"{}"

    async def json(self) -> Any:
        """The fields, with images as bytes."""
        return self._fields


class _InvalidJsonRequest(Request):
    """A request whose JSON could not be parsed; FastAPI's handler reports the error."""

    def __init__(self, request: Request, empty: bool, error: ValueError | RecursionError) -> None:
        super().__init__(request.scope, request.receive)
        self._empty, self._error = empty, error

    async def body(self) -> bytes:
        """A placeholder that says whether there is a body."""
        return b"" if self._empty else b"{}"

    async def json(self) -> Any:
        """Raise the parser's error."""
        raise self._error


def media_type_of(request: Request) -> str:
    """The media type of a request's body, in lower case and without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _with_parsed_json(request: Request) -> Request:
    """The request with its parsed JSON; no reference to the raw bytes remains."""
    data = b"".join([part async for part in request.stream()])
    try:
        if len(data) <= SMALL:
            return _ParsedRequest(request, json.loads(data))
        app_state: AppState = request.app.state.safelight
        return _ParsedRequest(
            request, await app_state.threads.run_image(ImageCost(2 * len(data)), loads, data)
        )
    except (ValueError, RecursionError) as error:
        return _InvalidJsonRequest(request, not data, error)


async def _read_form(request: Request, lists: Collection[str]) -> Fields:
    given: Fields = {}
    images: Fields = {}
    nested: dict[tuple[str, int, str], bytes] = {}
    async with request.form(max_files=MAX_FILES, max_fields=1) as form:
        for name, part in form.multi_items():
            if name == REQUEST_PART:
                given |= await _read_request_part(part)
            elif isinstance(part, str):
                raise BodyInvalidError(
                    f"The part {name!r} is text: all but pictures goes into {REQUEST_PART!r}, as JSON."
                )
            elif (place := _NESTED.fullmatch(name)) is not None:
                nested[place[1], int(place[2]), place[3]] = await part.read()
            elif name in lists:
                images.setdefault(name, []).append(await part.read())
            elif name in images:
                raise BodyInvalidError(f"The part {name!r} is there twice.")
            else:
                images[name] = await part.read()
    if duplicates := given.keys() & images.keys():
        raise BodyInvalidError(f"{min(duplicates)!r} is a part and in {REQUEST_PART!r} too.")
    for (name, index, inner), data in sorted(nested.items()):
        given[name] = _with_nested(given.get(name, []), index, inner, data, f"{name}[{index}].{inner}")
    return given | images


def _with_nested(items: Any, index: int, inner: str, data: bytes, part: str) -> list[Any]:
    """A list of a request with an image in one of its items, or in a new one behind them.

    Raises:
        BodyInvalidError: There is no such place, or it is taken.
    """
    if not isinstance(items, list) or index > len(items):
        raise BodyInvalidError(f"There is no place for the part {part!r} in {REQUEST_PART!r}.")
    item = items[index] if index < len(items) else {}
    if not isinstance(item, dict) or inner in item:
        raise BodyInvalidError(f"{part!r} is a part and in {REQUEST_PART!r} too.")
    return [*items[:index], item | {inner: data}, *items[index + 1 :]]


async def _read_request_part(part: str | UploadFile) -> Fields:
    data = part.encode() if isinstance(part, str) else await part.read(MAX_REQUEST_PART + 1)
    if len(data) > MAX_REQUEST_PART:
        raise BodyInvalidError(
            f"The part {REQUEST_PART!r} is larger than {MAX_REQUEST_PART} bytes: pictures are parts of their own."
        )
    return await asyncio.to_thread(_parse_request_part, data)


def _parse_request_part(data: bytes) -> Fields:
    if (complaint := json_error(data)) is not None:
        raise complaint
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BodyInvalidError(f"The part {REQUEST_PART!r} is not JSON.") from error
    if not isinstance(fields, dict):
        raise BodyInvalidError(f"The part {REQUEST_PART!r} has to be a JSON object.")
    return fields
