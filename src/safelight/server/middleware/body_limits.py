"""Body limits: size before reading, transfer rate while reading, and JSON's limits before parsing."""

from __future__ import annotations

import asyncio
import re
import time

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safelight.errors import BodyInvalidError, BodyTimeoutError, BodyTooLargeError, SafelightError
from safelight.server.core.exception_handlers import send_error
from safelight.server.core.request_bodies.json_limits import json_error
from safelight.server.security.principal import Role
from safelight.server.security.quotas import ByteQuota
from safelight.settings import Settings

MIN_BYTES_PER_SECOND = 8192
"""Minimum transfer rate of a body in bytes a second, after its first seconds."""
MAX_ANONYMOUS_BYTES = 16 * 1024
"""Maximum bytes of an unauthenticated body: a key to sign in with."""
SMALL = 256 * 1024
"""Bytes of JSON above which it is checked in a thread."""
MEMORY_FACTOR = 4
"""Memory for all bodies, as a multiple of the largest: one owner may have half of what the others leave."""
COPIES = 2
"""Copies of JSON and forms in memory: the body, and the images decoded from it."""
STREAMED_PATHS = frozenset({"/v1/models/uploads"})
"""Paths whose bodies are written to the disk as they arrive, if an administrator sends them."""
_MULTIPART = "multipart/form-data"
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{1,70}")


class BodyLimitMiddleware:
    """Refuses bodies that are too large, too slow or too deep, or for which no memory is free now.

    Args:
        app: The next ASGI application.
        settings: The settings with ``max_request_bytes``, ``max_upload_bytes`` and ``body_timeout``.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._quota = ByteQuota(MEMORY_FACTOR * settings.max_request_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(scope, receive, self._settings, self._quota)
        if (error := body.content_length_error() or _form_error(scope)) is not None:
            await send_error(error, scope, receive, send)
            return
        try:
            await self._run_bounded(body, scope, receive, send)
        finally:
            body.release()

    async def _run_bounded(self, body: _Body, scope: Scope, receive: Receive, send: Send) -> None:
        answered = False

        async def send_checked(message: Message) -> None:
            nonlocal answered
            if body.error is None or answered:  # the application's response to our error is dropped
                answered = True
                await send(message)

        try:
            await self._app(scope, body.receive, send_checked)
        except SafelightError as raised:
            if raised is not body.error:
                raise
        if body.error is not None and not answered:
            await send_error(body.error, scope, receive, send)


class _Body:
    """A body that is being received.

    Args:
        scope: The request's scope.
        receive: The request's receive channel.
        settings: The settings with the limits.
        quota: The byte quota that all bodies share.
    """

    def __init__(self, scope: Scope, receive: Receive, settings: Settings, quota: ByteQuota) -> None:
        self._receive, self._quota = receive, quota
        principal = scope.get("state", {}).get("principal")
        self._streamed = False
        self._owner = "" if principal is None else principal.owner
        self._limit, self._timeout = settings.max_request_bytes, settings.body_timeout
        if principal is None:
            self._limit = min(self._limit, MAX_ANONYMOUS_BYTES)
        elif principal.role is Role.ADMIN and scope["path"] in STREAMED_PATHS:
            self._limit, self._streamed = settings.max_upload_bytes, True
        headers = Headers(scope=scope)
        self._announced = headers.get("content-length", "0")
        content_type = headers.get("content-type", "application/json").lower()
        self._json = "json" in content_type and not self._streamed
        self._copied = self._json or content_type.startswith(_MULTIPART)
        self._parts: list[bytes] = []
        self._size, self._started, self._complete = 0, time.monotonic(), False
        self._reserved, self._chunked = 0, "transfer-encoding" in headers
        self.error: SafelightError | None = None

    def content_length_error(self) -> SafelightError | None:
        """The error of the Content-Length header, if any."""
        if not self._announced.isascii() or not self._announced.isdigit():
            return BodyInvalidError("The header Content-Length is no number.")
        return self._size_error(int(self._announced[:20]))

    async def receive(self) -> Message:
        """The next part of the body, within the limits; after the last one, any message."""
        if self._complete:
            return await self._receive()
        try:
            await self._reserve()
            message = await asyncio.wait_for(self._receive(), self._time_left())
            if self._count(message):
                self.error = await self._content_error()
        except TimeoutError:
            self.error = BodyTimeoutError()
        except SafelightError as error:
            self.error = error
        if self.error is not None:
            raise self.error
        return message

    def _time_left(self) -> float:
        """Seconds to wait for the next part; fewer if the transfer was slow so far."""
        due = self._started + self._timeout + self._size / MIN_BYTES_PER_SECOND
        return max(0.001, min(self._timeout, due - time.monotonic()))

    def release(self) -> None:
        """Release the memory of the body."""
        self._quota.release(self._owner, self._reserved)
        self._reserved = 0

    async def _reserve(self) -> None:
        """Reserve memory for the announced size before anything is read."""
        wanted = self._memory_for(0 if self._chunked else int(self._announced))
        if self._size or self._reserved or not wanted:
            return
        await self._quota.acquire(self._owner, wanted, self._timeout)
        self._reserved = wanted
        self._started = time.monotonic()

    def _memory_for(self, size: int) -> int:
        """The memory that a body of a size takes."""
        if self._streamed:
            return 0
        return size * COPIES if self._copied else size

    def _count(self, message: Message) -> bool:
        """Count a part; returns whether it was the last."""
        if message["type"] != "http.request":  # the client has disconnected
            self._complete = True
            return False
        part = message.get("body", b"")
        self._size += len(part)
        if (error := self._size_error(self._size)) is not None:
            raise error
        more = self._memory_for(self._size) - self._reserved
        if more > 0:  # not announced by Content-Length
            self._quota.acquire_nowait(self._owner, more)
            self._reserved += more
        self._complete = not message.get("more_body", False)
        if self._json:
            self._parts.append(part)
        return self._complete

    async def _content_error(self) -> BodyInvalidError | None:
        """The error of the complete JSON, if any."""
        data = b"".join(self._parts)
        self._parts.clear()
        if len(data) <= SMALL:
            return json_error(data)
        return await asyncio.to_thread(json_error, data)

    def _size_error(self, size: int) -> SafelightError | None:
        if size <= self._limit:
            return None
        return BodyTooLargeError(f"The request is larger than {self._limit} bytes.")


def _form_error(scope: Scope) -> BodyInvalidError | None:
    """The error of a form's Content-Type, if any; its charset is removed, since a codec can be slow or odd."""
    content_type_header = Headers(scope=scope).get("content-type", "")
    if content_type_header.partition(";")[0].strip().lower() != _MULTIPART:
        return None
    boundary = parse_options_header(content_type_header)[1].get(b"boundary")
    if boundary is None or not _BOUNDARY.fullmatch(boundary):
        return BodyInvalidError("The form's boundary is missing or has signs that no boundary has.")
    others = [pair for pair in scope["headers"] if pair[0] != b"content-type"]
    scope["headers"] = [*others, (b"content-type", b'%b; boundary="%b"' % (_MULTIPART.encode(), boundary))]
    return None
