"""The listening socket."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from safelight.errors import PortInUseError
from safelight.logs import get_logger
from safelight.settings import Settings

BACKLOG = 4096
"""Connections that may wait to be accepted; the system may allow fewer."""
MAX_ACCEPTED_AT_ONCE, MAX_CLOSED_AT_ONCE = 32, 128
"""Connections that are accepted, and that are closed, in one turn of the event loop."""
LOG_INTERVAL = 60.0
"""Minimum seconds between two log lines about connections that could not be accepted."""
TCP_OPTIONS = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4, "TCP_NOTSENT_LOWAT": 128 * 1024}
"""TCP options: seconds of silence before the first keep-alive probe, seconds between probes, and failed probes before
the connection is closed; bytes that may wait unsent in the system, so that clients that read nothing cost little."""
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def listen(settings: Settings, may_connect: Callable[[str], bool]) -> ListeningSocket:
    """Open the listening socket.

    Args:
        settings: The settings with host and port.
        may_connect: Whether to accept one more connection from an address.

    Raises:
        PortInUseError: The address is not one of this machine, or the port is in use or not permitted.
    """
    place = f"{settings.host} port {settings.port}"
    try:
        family, address = _resolve(settings.host, settings.port)
        listening = ListeningSocket(family, may_connect)
    except (OSError, UnicodeError) as error:
        raise PortInUseError(f"{place} cannot be listened on: {error}.") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # connections inherit all options
        for name, value in TCP_OPTIONS.items():
            if (option := getattr(socket, name, None)) is not None:
                listening.setsockopt(socket.IPPROTO_TCP, option, value)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise PortInUseError(f"{place} cannot be listened on: {error.strerror}.") from error
    return listening


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Socket family and address of a host; a name is resolved."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return family, (str(address[0]), port)
    return (socket.AF_INET6 if version == 6 else socket.AF_INET), (host, port)


class ListeningSocket(socket.socket):
    """Gives asyncio few connections at a time, and continues when there are no file descriptors left.

    By default asyncio accepts the whole backlog at once, before any connection is handled; and for each one that could
    not be accepted it logs a traceback and starts again, several times over.

    Args:
        family: AF_INET or AF_INET6.
        may_connect: Whether to accept one more connection from an address; it is closed otherwise.
    """

    def __init__(self, family: socket.AddressFamily, may_connect: Callable[[str], bool]) -> None:
        # asyncio disables Nagle's algorithm only if the protocol is given; otherwise every response takes 40 ms longer.
        super().__init__(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._may_connect = may_connect
        self._spare_descriptor: int | None = os.open(os.devnull, os.O_RDONLY)
        self._accepted, self._dropped, self._logged_at = 0, 0, -LOG_INTERVAL

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept the next connection.

        Raises:
            BlockingIOError: There is none, or this turn of the event loop has accepted enough.
            OSError: The connection can neither be accepted nor dropped; asyncio tries again after a second.
        """
        for _ in range(MAX_CLOSED_AT_ONCE if self._accepted < MAX_ACCEPTED_AT_ONCE else 0):
            connection, address = self._accept_one()
            if self._may_connect(address[0]):
                self._accepted += 1
                return connection, address
            connection.close()
        self._accepted = 0
        raise BlockingIOError

    def _accept_one(self) -> tuple[socket.socket, Any]:
        try:
            return super().accept()
        except BlockingIOError:
            self._accepted = 0
            raise
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            self._accepted = (
                MAX_ACCEPTED_AT_ONCE  # asyncio would try again at once although the spare descriptor is gone
            )
            self._drop_one(error)
            raise BlockingIOError from error

    def close(self) -> None:
        """Close the socket."""
        super().close()
        self._close_spare()

    def _drop_one(self, error: OSError) -> None:
        """Accept the next connection with the spare descriptor and close it; else asyncio would retry it forever."""
        self._dropped += 1
        if time.monotonic() - self._logged_at >= LOG_INTERVAL:
            get_logger(__name__).error("connections are dropped", why=error.strerror, dropped=self._dropped)
            self._dropped, self._logged_at = 0, time.monotonic()
        self._close_spare()
        try:
            super().accept()[0].close()
        finally:
            with suppress(OSError):
                self._spare_descriptor = os.open(os.devnull, os.O_RDONLY)

    def _close_spare(self) -> None:
        if self._spare_descriptor is not None:
            os.close(self._spare_descriptor)
            self._spare_descriptor = None
