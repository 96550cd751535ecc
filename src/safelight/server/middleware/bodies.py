"""Body limits: size before reading, transfer rate while reading, and JSON's limits before parsing."""

from __future__ import annotations

import asyncio
import re
import time

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safelight.errors import BodyInvalidError, BodySlowError, BodyTooLargeError, SafelightError
from safelight.server.errors_http import refuse
from safelight.server.room import Room
from safelight.server.shape import complaint_about_json
from safelight.settings import Settings

MIN_PACE = 8192
"""Minimum transfer rate of a body in bytes a second, after its first seconds."""
STRANGER = 16 * 1024
"""Maximum bytes of an unauthenticated body: a key to sign in with."""
SMALL = 256 * 1024
"""Bytes of JSON above which it is checked in a thread."""
SHARE = 4
"""Memory for all bodies, as a multiple of the largest: one owner may have half of what the others leave."""
COPIES = 2
"""Copies of JSON and forms in memory: the body, and the images decoded from it."""
_MULTIPART = "multipart/form-data"
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{1,70}")


class Bodies:
    """Refuses bodies that are too large, too slow or too deep, or for which no memory is free now.

    Args:
        app: The next ASGI application.
        settings: The settings with ``max_request_bytes`` and ``body_patience``.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._room = Room(SHARE * settings.max_request_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(scope, receive, self._settings, self._room)
        if (error := body.announced_too_large() or _complaint_about_form(scope)) is not None:
            await refuse(error, scope, receive, send)
            return
        try:
            await self._bounded(body, scope, receive, send)
        finally:
            body.free()

    async def _bounded(self, body: _Body, scope: Scope, receive: Receive, send: Send) -> None:
        answered = False

        async def sent(message: Message) -> None:
            nonlocal answered
            if body.error is None or answered:  # the application's response to our error is dropped
                answered = True
                await send(message)

        try:
            await self._app(scope, body.receive, sent)
        except SafelightError as raised:
            if raised is not body.error:
                raise
        if body.error is not None and not answered:
            await refuse(body.error, scope, receive, send)


class _Body:
    """A body that is being received.

    Args:
        scope: The request's scope.
        receive: The request's receive channel.
        settings: The settings with the limits.
        room: The byte quota that all bodies share.
    """

    def __init__(self, scope: Scope, receive: Receive, settings: Settings, room: Room) -> None:
        self._receive, self._room = receive, room
        who = scope.get("state", {}).get("caller")
        self._owner = "" if who is None else who.owner
        self._limit, self._patience = settings.max_request_bytes, settings.body_patience
        if who is None:
            self._limit = min(self._limit, STRANGER)
        headers = Headers(scope=scope)
        self._announced = headers.get("content-length", "0")
        kind = headers.get("content-type", "application/json").lower()
        self._json = "json" in kind
        self._copied = self._json or kind.startswith(_MULTIPART)
        self._parts: list[bytes] = []
        self._size, self._began, self._whole = 0, time.monotonic(), False
        self._held, self._chunked = 0, "transfer-encoding" in headers
        self.error: SafelightError | None = None

    def announced_too_large(self) -> SafelightError | None:
        """The error of the Content-Length header, if any."""
        if not self._announced.isascii() or not self._announced.isdigit():
            return BodyInvalidError("The header Content-Length is no number.")
        return self._too_large(int(self._announced[:20]))

    async def receive(self) -> Message:
        """The next part of the body, within the limits; after the last one, any message."""
        if self._whole:
            return await self._receive()
        try:
            await self._reserve()
            message = await asyncio.wait_for(self._receive(), self._patience_left())
            if self._take(message):
                self.error = await self._complaint()
        except TimeoutError:
            self.error = BodySlowError()
        except SafelightError as error:
            self.error = error
        if self.error is not None:
            raise self.error
        return message

    def _patience_left(self) -> float:
        """Seconds to wait for the next part; fewer if the transfer was slow so far."""
        due = self._began + self._patience + self._size / MIN_PACE
        return max(0.001, min(self._patience, due - time.monotonic()))

    def free(self) -> None:
        """Release the memory of the body."""
        self._room.leave(self._owner, self._held)
        self._held = 0

    async def _reserve(self) -> None:
        """Reserve memory for the announced size before anything is read."""
        wanted = self._weight(0 if self._chunked else int(self._announced))
        if self._size or self._held or not wanted:
            return
        await self._room.wait(self._owner, wanted, self._patience)
        self._held = wanted
        self._began = time.monotonic()

    def _weight(self, size: int) -> int:
        """The memory that a body of a size takes."""
        return size * COPIES if self._copied else size

    def _take(self, message: Message) -> bool:
        """Count a part; returns whether it was the last."""
        if message["type"] != "http.request":  # the client has disconnected
            self._whole = True
            return False
        part = message.get("body", b"")
        self._size += len(part)
        if (error := self._too_large(self._size)) is not None:
            raise error
        more = self._weight(self._size) - self._held
        if more > 0:  # not announced by Content-Length
            self._room.enter(self._owner, more)
            self._held += more
        self._whole = not message.get("more_body", False)
        if self._json:
            self._parts.append(part)
        return self._whole

    async def _complaint(self) -> BodyInvalidError | None:
        """The error of the complete JSON, if any."""
        data = b"".join(self._parts)
        self._parts.clear()
        if len(data) <= SMALL:
            return complaint_about_json(data)
        return await asyncio.to_thread(complaint_about_json, data)

    def _too_large(self, size: int) -> SafelightError | None:
        if size <= self._limit:
            return None
        return BodyTooLargeError(f"The request is larger than {self._limit} bytes.")


def _complaint_about_form(scope: Scope) -> BodyInvalidError | None:
    """The error of a form's Content-Type, if any; its charset is removed, since a codec can be slow or odd."""
    given = Headers(scope=scope).get("content-type", "")
    if given.partition(";")[0].strip().lower() != _MULTIPART:
        return None
    boundary = parse_options_header(given)[1].get(b"boundary")
    if boundary is None or not _BOUNDARY.fullmatch(boundary):
        return BodyInvalidError("The form's boundary is missing or has signs that no boundary has.")
    others = [pair for pair in scope["headers"] if pair[0] != b"content-type"]
    scope["headers"] = [*others, (b"content-type", b'%b; boundary="%b"' % (_MULTIPART.encode(), boundary))]
    return None
