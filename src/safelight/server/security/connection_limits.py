"""Connection limits, for each client address and in total; a new connection replaces an idle one.

A connection is idle until a request's headers have arrived: a new connection, a slow one, or one that is kept alive
between two requests. It is receiving while a request's body arrives, and busy while a request is answered or a
WebSocket is open. At a limit, a new connection closes the oldest idle connection of its address, or of the address with
most connections. A busy connection is never closed: if none is idle, the new connection stays open and its request is
refused. An address at its limit gets new connections at a limited rate only, since accepting one costs more than
closing it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from enum import Enum, auto

from safelight.logs import get_logger

if sys.platform != "win32":
    import resource

MAX_CONNECTIONS, ADDRESS_SHARE = 2048, 4
"""Maximum connections in total, if there are enough descriptors, and the part (1/share) that one address may have."""
WANTED_DESCRIPTORS, DEFAULT_DESCRIPTORS = 65_536, 1024
"""File descriptors to request from the system, and the number to assume if it reports none."""
MAX_REPLACED_PER_SECOND = 100
"""Connections a second that an address at its limit may replace."""
LOG_INTERVAL = 60.0
"""Minimum seconds between two log lines about closed connections."""


class Phase(Enum):
    """The phase of a connection."""

    IDLE = auto()
    RECEIVING = auto()
    BUSY = auto()


class _Client:
    """The connections of one address by phase, oldest first, each with the time at which it entered the phase."""

    def __init__(self, limit: int) -> None:
        self.limit, self.next_allowed = limit, 0.0
        self.phases: dict[Phase, dict[asyncio.Transport, float]] = {phase: {} for phase in Phase}

    def __len__(self) -> int:
        return sum(map(len, self.phases.values()))

    def active(self) -> int:
        """How many connections are not idle."""
        return len(self) - len(self.phases[Phase.IDLE])

    def oldest(self, phase: Phase) -> tuple[float, asyncio.Transport]:
        """The connection that has been in a phase for longest, and when it entered it; the phase must not be empty."""
        transport, since = next(iter(self.phases[phase].items()))
        return since, transport


class ConnectionLimiter:
    """Counts connections and closes those above a limit. Use it on the event loop only.

    Args:
        total: Maximum connections in total.
        per_address: Maximum connections of one address.
        is_proxy: Whether an address belongs to a trusted proxy and may use the total: its clients share its address.
    """

    def __init__(
        self, total: int, per_address: int, is_proxy: Callable[[str], bool] = lambda _: False
    ) -> None:
        self.total, self.per_address, self._is_proxy = total, per_address, is_proxy
        self._clients: dict[str, _Client] = {}
        self._addresses: dict[asyncio.Transport, str] = {}
        self._closed, self._logged_at = 0, -LOG_INTERVAL

    def __len__(self) -> int:
        return len(self._addresses)

    def may_connect(self, address: str) -> bool:
        """Whether to keep a connection that was just accepted; otherwise the caller closes it at once."""
        client = self._clients.get(client_key(address))
        if client is None or len(client) < client.limit:
            return True
        now = time.monotonic()
        if client.next_allowed > now:
            self._log_closed(address)
            return False
        client.next_allowed = max(client.next_allowed, now - 1) + 1 / MAX_REPLACED_PER_SECOND
        return True

    def opened(self, transport: asyncio.Transport) -> None:
        """Register a new connection, which is idle."""
        address = transport.get_extra_info("peername")[0]
        most = self.total if self._is_proxy(address) else self.per_address
        name = client_key(address)
        client = self._clients.get(name) or _Client(most)
        if len(client) >= most:
            self._close_one([client], Phase.IDLE)
        if len(self) >= self.total:
            everybody = self._clients.values()
            self._close_one(everybody, Phase.IDLE) or self._close_one(everybody, Phase.RECEIVING)
        self._clients[name], self._addresses[transport] = client, name
        client.phases[Phase.IDLE][transport] = time.monotonic()

    def set_phase(self, transport: asyncio.Transport, phase: Phase) -> None:
        """Set a connection's phase; nothing changes if it is in that phase already."""
        name = self._addresses.get(transport)
        if name is None:  # this class closed it; the transport does not know that yet
            return
        phases = self._clients[name].phases
        if transport not in phases[phase]:
            for others in phases.values():
                others.pop(transport, None)
            phases[phase][transport] = time.monotonic()

    def closed(self, transport: asyncio.Transport) -> None:
        """Remove a connection that is closed."""
        name = self._addresses.pop(transport, None)
        if name is None:
            return
        client = self._clients[name]
        for phase in client.phases.values():
            phase.pop(transport, None)
        if not len(client):
            del self._clients[name]

    def is_over_limit(self, transport: asyncio.Transport) -> bool:
        """Whether the request on a connection exceeds the limit of its address or of all addresses together."""
        name = self._addresses.get(transport)
        if name is None or self._clients[name].active() > self._clients[name].limit:
            return True
        return len(self) > self.total < sum(client.active() for client in self._clients.values())

    def _close_one(self, clients: Collection[_Client], phase: Phase) -> bool:
        """Close the oldest connection in a phase, of the address with most; returns whether there was one."""
        candidates = [client for client in clients if client.phases[phase]]
        if not candidates:
            return False
        client = min(candidates, key=lambda client: (-len(client), client.oldest(phase)[0]))
        _, transport = client.oldest(phase)
        self.closed(transport)
        transport.abort()
        self._log_closed(transport.get_extra_info("peername")[0])
        return True

    def _log_closed(self, address: str) -> None:
        self._closed += 1
        if time.monotonic() - self._logged_at >= LOG_INTERVAL:
            get_logger(__name__).warning("too many connections", closed=self._closed, last_of=address)
            self._closed, self._logged_at = 0, time.monotonic()


def client_key(address: str) -> str:
    """The key to count an address under: for IPv6 its /64 network, since one client has all addresses of it."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed), 64), strict=False))


def max_connections() -> tuple[int, int]:
    """Maximum connections in total and of one address; half of the descriptors are left for files.

    Raises the process's limit of file descriptors as far as the system allows.
    """
    total = min(MAX_CONNECTIONS, _raise_descriptor_limit() // 2)
    return total, max(1, total // ADDRESS_SHARE)


def _raise_descriptor_limit() -> int:
    if sys.platform == "win32":
        return DEFAULT_DESCRIPTORS
    now, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_DESCRIPTORS if highest == resource.RLIM_INFINITY else min(highest, WANTED_DESCRIPTORS)
    if now != resource.RLIM_INFINITY and now < wanted:
        with suppress(ValueError, OSError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, highest))
        now, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return WANTED_DESCRIPTORS if now == resource.RLIM_INFINITY else now
