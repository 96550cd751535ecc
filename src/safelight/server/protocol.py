"""HTTP/1.1 and WebSockets as uvicorn speaks them, and nobody may dawdle, nor have more connections than others.

Headers have to arrive, and answers to be taken. ``Connections`` is told what each connection does.
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
"""Seconds from a connection's beginning, or from the last answer, to the end of a request's headers."""
TAKING, LEAST = 60.0, 16 * 1024
"""Seconds within which a client takes at least so many bytes of what was sent, or all there is."""
PIECE = 64 * 1024
"""Bytes of an answer's body that are given to a connection at once; the next when the system has taken them."""
REFUSED = "refused_connection"
"""The key of a request's state that says that there are too many connections for it to be answered."""


class Taking(asyncio.Protocol):
    """Closes a connection whose client does not take what was sent.

    Writing pauses as soon as the system takes no more, so that nothing piles up here, and an answer that is complete
    but was not taken counts as not taken.
    """

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _look: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """What was sent is not being taken."""
        super().pause_writing()
        self._look_later()

    def resume_writing(self) -> None:
        """All of it was taken."""
        super().resume_writing()
        self._look_no_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
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
"""Bytes that are read of a connection before others have their turn: of headers asyncio's usual number, since a client
that is refused while it still sends them sees a reset; of bodies fewer, since uploads make others wait."""


class PatientProtocol(Taking, H11Protocol):
    """HTTP/1.1; closes connections whose next request's headers do not end in time.

    Args:
        connections: Of all clients.
        options: uvicorn's.
    """

    def __init__(self, *, connections: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._connections, self._app, self.app = connections, self.app, self._answer
        self._headers_due: asyncio.TimerHandle | None = None
        self._is_websocket = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)
        self._connections.opened(transport)
        self._note()

    def data_received(self, data: bytes) -> None:
        """Something has arrived."""
        super().data_received(data)
        self._note()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._connections.closed(self.transport)
        self._stop_waiting()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """An answer is not being taken."""
        super().pause_writing()
        self._note()

    def resume_writing(self) -> None:
        """It was taken."""
        super().resume_writing()
        self._note()

    def on_response_complete(self) -> None:
        """An answer is complete."""
        super().on_response_complete()
        self._note()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """The connection becomes a WebSocket."""
        self._is_websocket = True
        self._stop_waiting()
        self._look_no_more()
        self._connections.enters(self.transport, Phase.BUSY)
        super().handle_websocket_upgrade(event)
        if self.flow.write_paused:  # by an answer before it, of which the new protocol was not told
            self.transport.get_protocol().pause_writing()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP; where an answer has begun, there is no place for another."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"][REFUSED] = self._connections.refuses(self.transport)
        await self._app(scope, receive, in_pieces(send))

    def _note(self) -> None:
        """Tell what the connection does, and wait for headers only where nothing else goes on."""
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
    """A WebSocket; it has the place of the connection that it was.

    Args:
        connections: Of all clients.
        options: uvicorn's.
    """

    def __init__(self, *, connections: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._connections, self._app, self.app = connections, self.app, self._answer

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._connections.closed(self.transport)
        super().connection_lost(exc)

    async def send(self, message: Any) -> None:
        """Send a message.

        Raises:
            ClientDisconnected: The client has gone, or was sent away for what it sent.
        """
        try:
            await super().send(message)
        except RuntimeError as error:  # uvicorn takes the closing for the application's
            if self.transport.is_closing():
                raise ClientDisconnected from error
            raise

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"][REFUSED] = self._connections.refuses(self.transport)
        await self._app(scope, receive, send)


def in_pieces(send: Send) -> Send:
    """Send large bodies in pieces, of which one at a time is copied for a client that takes its time."""

    async def sent(message: Message) -> None:
        body, more = message.get("body", b""), message.get("more_body", False)
        if len(body) <= PIECE:
            await send(message)
            return
        for start in range(0, len(body), PIECE):
            end = start + PIECE
            await send({**message, "body": body[start:end], "more_body": more or end < len(body)})

    return sent
