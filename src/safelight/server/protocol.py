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

from safelight.server.connections import Connections, Phase

PATIENCE = 20.0
"""Seconds from the start of a connection, or from the last response, to the end of a request's headers."""
TAKING, LEAST = 60.0, 16 * 1024
"""Seconds within which a client has to read at least so many bytes of the response, or all that is left."""
PIECE = 64 * 1024
"""Bytes of a response's body that are written at once; the next follow when the system has accepted them."""
REFUSED = "refused_connection"
"""The key in a request's state that says that its connection exceeds a limit and the request is to be refused."""


class Taking(asyncio.Protocol):
    """Closes a connection whose client does not read its response in time.

    Writing pauses as soon as the system accepts no more bytes, so that nothing is buffered here, and a response that is
    complete but unread still counts as unread.
    """

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _look: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """The client does not read; start the timer."""
        super().pause_writing()
        self._look_later()

    def resume_writing(self) -> None:
        """Everything was written; stop the timer."""
        super().resume_writing()
        self._look_no_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._look_no_more()
        super().connection_lost(exc)

    def _look_later(self) -> None:
        self._look_no_more()
        self._look = self.loop.call_later(TAKING, self._look_now, self.transport.get_write_buffer_size())

    def _look_now(self, before: int) -> None:
        if before - self.transport.get_write_buffer_size() < LEAST:
            self.transport.abort()
        else:
            self._look_later()

    def _look_no_more(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None


HEAD_AT_ONCE, BODY_AT_ONCE = 256 * 1024, 32 * 1024
"""Maximum bytes to read of a connection in one turn of the event loop: for headers asyncio's default, since a client
that is refused while it still sends them sees a reset; for bodies fewer, so that uploads do not delay others."""


class PatientProtocol(Taking, H11Protocol):
    """HTTP/1.1; closes connections whose next request's headers do not arrive in time.

    Args:
        connections: The connection limiter of the server.
        options: Passed to uvicorn's protocol.
    """

    def __init__(self, *, connections: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._connections, self._app, self.app = connections, self.app, self._answer
        self._headers_due: asyncio.TimerHandle | None = None
        self._is_websocket = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Register a new connection."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)
        self._connections.opened(transport)
        self._note()

    def data_received(self, data: bytes) -> None:
        """Handle received bytes."""
        super().data_received(data)
        self._note()

    def connection_lost(self, exc: Exception | None) -> None:
        """Unregister the connection."""
        self._connections.closed(self.transport)
        self._stop_waiting()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Count the connection as busy while its client does not read."""
        super().pause_writing()
        self._note()

    def resume_writing(self) -> None:
        """Update the phase after everything was written."""
        super().resume_writing()
        self._note()

    def on_response_complete(self) -> None:
        """Update the phase after a response."""
        super().on_response_complete()
        self._note()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection over to the WebSocket protocol."""
        self._is_websocket = True
        self._stop_waiting()
        self._look_no_more()
        self._connections.enters(self.transport, Phase.BUSY)
        super().handle_websocket_upgrade(event)
        if self.flow.write_paused:  # by an earlier response; the new protocol does not know that
            self.transport.get_protocol().pause_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no HTTP; if a response has started, only close the connection."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"][REFUSED] = self._connections.refuses(self.transport)
        await self._app(scope, receive, in_pieces(send))

    def _note(self) -> None:
        """Report the connection's phase, and run the headers timer only while it is idle."""
        if self._is_websocket:
            return
        phase = self._phase()
        self.transport.max_size = BODY_AT_ONCE if phase is Phase.RECEIVING else HEAD_AT_ONCE  # type: ignore[attr-defined]
        self._connections.enters(self.transport, phase)
        if phase is not Phase.IDLE:
            self._stop_waiting()
        elif self._headers_due is None:
            self._headers_due = self.loop.call_later(PATIENCE, self.transport.close)

    def _phase(self) -> Phase:
        if self.flow.write_paused:
            return Phase.BUSY
        if self.cycle is None or self.cycle.response_complete:
            return Phase.IDLE
        return Phase.RECEIVING if self.cycle.more_body and not self.cycle.response_started else Phase.BUSY

    def _stop_waiting(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None


class PatientWebSocket(Taking, WebSocketsSansIOProtocol):
    """A WebSocket; it stays registered as the connection that it was.

    Args:
        connections: The connection limiter of the server.
        options: Passed to uvicorn's protocol.
    """

    def __init__(self, *, connections: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._connections, self._app, self.app = connections, self.app, self._answer

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

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"][REFUSED] = self._connections.refuses(self.transport)
        await self._app(scope, receive, send)


def in_pieces(send: Send) -> Send:
    """Send large bodies in chunks, so that only one at a time is copied for a slow client."""

    async def sent(message: Message) -> None:
        body, more = message.get("body", b""), message.get("more_body", False)
        if len(body) <= PIECE:
            await send(message)
            return
        for start in range(0, len(body), PIECE):
            end = start + PIECE
            await send({**message, "body": body[start:end], "more_body": more or end < len(body)})

    return sent
