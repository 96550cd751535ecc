"""uvicorn's HTTP/1.1 and WebSocket protocols with timeouts and connection limits.

A client has to send its headers and to read its responses in time. The protocols report the phase of each connection to
``ConnectionLimiter``.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from safelight.server.security.connection_limits import ConnectionLimiter, Phase

HEADERS_TIMEOUT = 20.0
"""Seconds from the start of a connection, or from the last response, to the end of a request's headers."""
WRITE_TIMEOUT, MIN_WRITTEN = 60.0, 16 * 1024
"""Seconds within which a client has to read at least so many bytes of the response, or all that is left."""
CHUNK = 64 * 1024
"""Bytes of a response's body that are written at once; the next follow when the system has accepted them."""
OVER_LIMIT = "refused_connection"
"""The key in a request's state that says that its connection exceeds a limit and the request is to be refused."""


class WriteTimeoutProtocol(asyncio.Protocol):
    """Closes a connection whose client does not read its response in time.

    Writing pauses as soon as the system accepts no more bytes, so that nothing is buffered here, and a response that is
    complete but unread still counts as unread.
    """

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _write_timer: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """The client does not read; start the timer."""
        super().pause_writing()
        self._start_write_timer()

    def resume_writing(self) -> None:
        """Everything was written; stop the timer."""
        super().resume_writing()
        self._cancel_write_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._cancel_write_timer()
        super().connection_lost(exc)

    def _start_write_timer(self) -> None:
        self._cancel_write_timer()
        self._write_timer = self.loop.call_later(
            WRITE_TIMEOUT, self._check_written, self.transport.get_write_buffer_size()
        )

    def _check_written(self, unsent: int) -> None:
        if unsent - self.transport.get_write_buffer_size() < MIN_WRITTEN:
            self.transport.abort()
        else:
            self._start_write_timer()

    def _cancel_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None


MAX_HEADER_READ, MAX_BODY_READ = 256 * 1024, 32 * 1024
"""Maximum bytes to read of a connection in one turn of the event loop: for headers asyncio's default, since a client
that is refused while it still sends them sees a reset; for bodies fewer, so that uploads do not delay others."""


class HttpProtocol(WriteTimeoutProtocol, H11Protocol):
    """HTTP/1.1; closes connections whose next request's headers do not arrive in time.

    Args:
        connections: The connection limiter of the server.
        options: Passed to uvicorn's protocol.
    """

    def __init__(self, *, connections: ConnectionLimiter, **options: Any) -> None:
        super().__init__(**options)
        self._connections, self._app, self.app = connections, self.app, self._run_app
        self._headers_timer: asyncio.TimerHandle | None = None
        self._is_websocket = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Register a new connection."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)
        self._connections.opened(transport)
        self._update_phase()

    def data_received(self, data: bytes) -> None:
        """Handle received bytes."""
        super().data_received(data)
        self._update_phase()

    def connection_lost(self, exc: Exception | None) -> None:
        """Unregister the connection."""
        self._connections.closed(self.transport)
        self._cancel_headers_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Count the connection as busy while its client does not read."""
        super().pause_writing()
        self._update_phase()

    def resume_writing(self) -> None:
        """Update the phase after everything was written."""
        super().resume_writing()
        self._update_phase()

    def on_response_complete(self) -> None:
        """Update the phase after a response."""
        super().on_response_complete()
        self._update_phase()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection over to the WebSocket protocol."""
        self._is_websocket = True
        self._cancel_headers_timer()
        self._cancel_write_timer()
        self._connections.set_phase(self.transport, Phase.BUSY)
        super().handle_websocket_upgrade(event)
        if self.flow.write_paused:  # by an earlier response; the new protocol does not know that
            self.transport.get_protocol().pause_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no HTTP; if a response has started, only close the connection."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    async def _run_app(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"][OVER_LIMIT] = self._connections.is_over_limit(self.transport)
        await self._app(scope, receive, in_chunks(send))

    def _update_phase(self) -> None:
        """Report the connection's phase, and run the headers timer only while it is idle."""
        if self._is_websocket:
            return
        phase = self._phase()
        self.transport.max_size = MAX_BODY_READ if phase is Phase.RECEIVING else MAX_HEADER_READ  # type: ignore[attr-defined]
        self._connections.set_phase(self.transport, phase)
        if phase is not Phase.IDLE:
            self._cancel_headers_timer()
        elif self._headers_timer is None:
            self._headers_timer = self.loop.call_later(HEADERS_TIMEOUT, self.transport.close)

    def _phase(self) -> Phase:
        if self.flow.write_paused:
            return Phase.BUSY
        if self.cycle is None or self.cycle.response_complete:
            return Phase.IDLE
        return Phase.RECEIVING if self.cycle.more_body and not self.cycle.response_started else Phase.BUSY

    def _cancel_headers_timer(self) -> None:
        if self._headers_timer is not None:
            self._headers_timer.cancel()
            self._headers_timer = None


class WebSocketProtocol(WriteTimeoutProtocol, WebSocketsSansIOProtocol):
    """A WebSocket; it stays registered as the connection that it was.

    Args:
        connections: The connection limiter of the server.
        options: Passed to uvicorn's protocol.
    """

    def __init__(self, *, connections: ConnectionLimiter, **options: Any) -> None:
        super().__init__(**options)
        self._connections, self._app, self.app = connections, self.app, self._run_app

    def connection_lost(self, exc: Exception | None) -> None:
        """Unregister the connection."""
        self._connections.closed(self.transport)
        super().connection_lost(exc)

    async def send(self, message: Any) -> None:
        """Send a message.

        Raises:
            ClientDisconnected: The client has disconnected, or was disconnected for an invalid message.
        """
        try:
            await super().send(message)
        except RuntimeError as error:  # uvicorn assumes that the application closed it
            if self.transport.is_closing():
                raise ClientDisconnected from error
            raise

    async def _run_app(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"][OVER_LIMIT] = self._connections.is_over_limit(self.transport)
        await self._app(scope, receive, send)


def in_chunks(send: Send) -> Send:
    """Send large bodies in chunks, so that only one at a time is copied for a slow client."""

    async def sent(message: Message) -> None:
        body, more = message.get("body", b""), message.get("more_body", False)
        if len(body) <= CHUNK:
            await send(message)
            return
        for start in range(0, len(body), CHUNK):
            end = start + CHUNK
            await send({**message, "body": body[start:end], "more_body": more or end < len(body)})

    return sent
