"""Route classes that parse JSON, multipart and binary bodies into the same fields.

A route declares one pydantic model, which the OpenAPI document shows. Its images are text in JSON and bytes in a
multipart form or in a body that is one image file.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Coroutine
from functools import cached_property
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import UploadFile

from safelight.errors import BodyInvalidError, MediaTypeError
from safelight.images.fields import image_fields, models_in
from safelight.server.large_json import loads
from safelight.server.picture_threads import Cost
from safelight.server.shape import complaint_about_json
from safelight.server.state import Backstage

MULTIPART, JSON = "multipart/form-data", "application/json"
BARE = ("image/", "application/octet-stream")
REQUEST = "request"
MAX_FILES = 1000
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
            return await handle(await self._as_json(request))

        return handler

    async def _as_json(self, request: Request) -> Request:
        return (
            request if self.body_field is None or kind_of(request) != JSON else await _parsed_early(request)
        )


class FormRoute(JsonRoute):
    """A route that also accepts forms: each image is a part named after its field, the rest is JSON in ``request``."""

    takes_bare = False

    @cached_property
    def _lists(self) -> frozenset[str]:
        """The body's fields that hold several pictures, one part of the form each."""
        assert self.body_field is not None
        fields = (image_fields(model) for model in models_in(self.body_field.field_info.annotation))
        return frozenset(name for each in fields for name, several in each.items() if several)

    async def _as_json(self, request: Request) -> Request:
        kind = kind_of(request)
        if kind == JSON or self.body_field is None:
            return await super()._as_json(request)
        if kind == MULTIPART:
            return _Given(request, await _form_fields(request, self._lists))
        if self.takes_bare and kind.startswith(BARE):
            return _Given(request, {"image": await request.body()})
        raise MediaTypeError(f"A body of the type {kind or 'none'!r} cannot be read here.")


class PictureRoute(FormRoute):
    """A route that also accepts the bytes of one image file as its body."""

    takes_bare = True


class _Given(Request):
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


class _Unreadable(Request):
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


def kind_of(request: Request) -> str:
    """The media type of a request's body, in lower case and without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _parsed_early(request: Request) -> Request:
    """The request with its parsed JSON; no reference to the raw bytes remains."""
    data = b"".join([part async for part in request.stream()])
    try:
        if len(data) <= SMALL:
            return _Given(request, json.loads(data))
        behind: Backstage = request.app.state.backstage
        return _Given(request, await behind.threads.pixels(Cost(2 * len(data)), loads, data))
    except (ValueError, RecursionError) as error:
        return _Unreadable(request, not data, error)


async def _form_fields(request: Request, lists: Collection[str]) -> Fields:
    given: Fields = {}
    pictures: Fields = {}
    async with request.form(max_files=MAX_FILES, max_fields=1) as form:
        for name, part in form.multi_items():
            if name == REQUEST:
                given |= await _request_part(part)
            elif isinstance(part, str):
                raise BodyInvalidError(
                    f"The part {name!r} is text: all but pictures goes into {REQUEST!r}, as JSON."
                )
            elif name in lists:
                pictures.setdefault(name, []).append(await part.read())
            elif name in pictures:
                raise BodyInvalidError(f"The part {name!r} is there twice.")
            else:
                pictures[name] = await part.read()
    if both := given.keys() & pictures.keys():
        raise BodyInvalidError(f"{min(both)!r} is a part and in {REQUEST!r} too.")
    return given | pictures


async def _request_part(part: str | UploadFile) -> Fields:
    data = part.encode() if isinstance(part, str) else await part.read(MAX_REQUEST_PART + 1)
    if len(data) > MAX_REQUEST_PART:
        raise BodyInvalidError(
            f"The part {REQUEST!r} is larger than {MAX_REQUEST_PART} bytes: pictures are parts of their own."
        )
    return await asyncio.to_thread(_parsed, data)


def _parsed(data: bytes) -> Fields:
    if (complaint := complaint_about_json(data)) is not None:
        raise complaint
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BodyInvalidError(f"The part {REQUEST!r} is not JSON.") from error
    if not isinstance(fields, dict):
        raise BodyInvalidError(f"The part {REQUEST!r} has to be a JSON object.")
    return fields
