"""HTTP/1.1 as uvicorn speaks it, and nobody may dawdle: headers have to arrive, and answers to be taken."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE = 20.0
"""Seconds from a connection's, or a request's, first sign of life to the end of its headers."""

TAKING = 60.0
"""Seconds for which a client may take nothing of an answer that waits for it."""


class PatientProtocol(H11Protocol):
    """Closes connections that begin a request and never finish its headers, or do not take their answer."""

    _timer: asyncio.TimerHandle | None = None
    _full: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Something has arrived."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._wait()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._stop_waiting()
        self._flows()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """What was sent is not being taken."""
        super().pause_writing()
        self._flows()
        self._full = self.loop.call_later(TAKING, self.transport.abort)

    def resume_writing(self) -> None:
        """It is taken again."""
        super().resume_writing()
        self._flows()

    def _flows(self) -> None:
        if self._full is not None:
            self._full.cancel()
            self._full = None

    def _wait(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(PATIENCE, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
