"""Bounds a request's body: its size before it is read, its pace while it comes, JSON's depth before it is parsed."""

from __future__ import annotations

import asyncio
import re
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safelight.errors import BodyInvalidError, BodySlowError, BodyTooLargeError, SafelightError
from safelight.server.errors_http import refuse
from safelight.settings import Settings

MIN_PACE = 8192
"""Bytes a second that a body has to come with, once its first seconds are over."""
MAX_DEPTH, MAX_VALUES = 64, 200_000
"""How deep JSON may be nested and how many values it may have: a small body can be a large tree of objects."""
_OUTSIDE_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)


class Bodies:
    """Refuses bodies that are too large, too slow or too deep.

    Args:
        app: What is inside.
        settings: With ``max_request_bytes`` and ``body_patience``.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, answered = _Body(scope, receive, self._settings), False
        if (error := body.announced_too_large()) is not None:
            await refuse(error, scope, receive, send)
            return

        async def sent(message: Message) -> None:
            nonlocal answered
            if body.error is None or answered:  # what the application makes of the error is ours to say
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
    """A body on its way.

    Args:
        scope: Of the request.
        receive: Gives its parts.
        settings: With the limits.
    """

    def __init__(self, scope: Scope, receive: Receive, settings: Settings) -> None:
        self._receive = receive
        self._limit, self._patience = settings.max_request_bytes, settings.body_patience
        headers = Headers(scope=scope)
        self._announced = headers.get("content-length", "0")
        self._json = "json" in headers.get("content-type", "application/json").lower()
        self._parts: list[bytes] = []
        self._size, self._began, self._whole = 0, time.monotonic(), False
        self.error: SafelightError | None = None

    def announced_too_large(self) -> SafelightError | None:
        """What is wrong with the size that the headers say, if anything is."""
        if not self._announced.isascii() or not self._announced.isdigit():
            return BodyInvalidError("The header Content-Length is no number.")
        return self._too_large(int(self._announced[:20]))

    async def receive(self) -> Message:
        """The next part, within the bounds; once the body is whole, whatever comes."""
        if self._whole:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self._patience_left())
            self._take(message)
        except TimeoutError:
            self.error = BodySlowError()
        if self.error is not None:
            raise self.error
        return message

    def _patience_left(self) -> float:
        """Seconds to wait for the next part; fewer where the pace was slow."""
        due = self._began + self._patience + self._size / MIN_PACE
        return max(0.001, min(self._patience, due - time.monotonic()))

    def _take(self, message: Message) -> None:
        if message["type"] != "http.request":  # the client has gone
            self._whole = True
            return
        part = message.get("body", b"")
        self._size += len(part)
        self._whole = not message.get("more_body", False)
        self.error = self._too_large(self._size)
        if self._json and self.error is None:
            self._parts.append(part)
            if self._whole:
                self.error = complaint_about_json(b"".join(self._parts))
                self._parts.clear()

    def _too_large(self, size: int) -> SafelightError | None:
        if size <= self._limit:
            return None
        return BodyTooLargeError(f"The request is larger than {self._limit} bytes.")


def complaint_about_json(data: bytes) -> BodyInvalidError | None:
    """What is wrong with the shape of JSON before it is parsed: nested too deep, or too many values.

    Counts first, which is quick even where there are many megabytes of base64 in it, and looks closer only where the
    count alone does not say that all is well.
    """
    if data.count(b",") > MAX_VALUES:
        return BodyInvalidError(f"The request has more than {MAX_VALUES} values.")
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return None
    depth = 0
    for match in _OUTSIDE_STRINGS.finditer(data):
        first = data[match.start()]
        depth += first in b"[{"
        depth -= first in b"]}"
        if depth > MAX_DEPTH:
            return BodyInvalidError(f"The request is nested deeper than {MAX_DEPTH} levels.")
    return None
