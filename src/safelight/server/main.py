"""The process that answers requests: listens first, loads afterwards, never imports torch."""

from __future__ import annotations

import ipaddress
import signal
import socket
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import uvicorn

from safelight.errors import PortTakenError
from safelight.logs import logger
from safelight.server.allocator import give_memory_back
from safelight.server.doorway import Doorway
from safelight.server.protocol import PatientProtocol
from safelight.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

MAX_HEADERS = 32 * 1024
"""Bytes of a request's line and headers."""
MAX_CONNECTIONS, BACKLOG = 1000, 512
MAX_MESSAGE = 64 * 1024
"""Bytes of a message that comes over a WebSocket: clients only send signals."""
SWITCH = 0.001
"""Seconds after which a thread that computes in Python lets another one in. By default it is five times that, each time
somebody's picture needs the interpreter for a moment; an ordinary one needs it dozens of times."""
GRACE = 3
"""Seconds that requests on their way are given when the process is told to leave."""


def serve(settings: Settings) -> None:
    """Answer requests until SIGTERM or SIGINT.

    Raises:
        PortTakenError: The address cannot be listened on.
        SafelightError: What had to be loaded could not be.
    """
    give_memory_back()
    sys.setswitchinterval(SWITCH)
    listening = listen(settings)
    problems: list[Exception] = []

    def failed(error: Exception) -> None:
        problems.append(error)
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises again what it was stopped by
        signal.signal(number, lambda *_: None)
    with ExitStack() as opened:
        doorway = Doorway(lambda: load(settings, opened), failed)
        server = uvicorn.Server(_configuration(settings, doorway))
        logger(__name__).info("listening", host=settings.host, port=settings.port)
        server.run(sockets=[listening])
    if problems:
        raise problems[0]


def listen(settings: Settings) -> socket.socket:
    """A socket that clients can connect to from now on.

    Raises:
        PortTakenError: The address is not this machine's, or the port is in use or not allowed.
    """
    where = f"{settings.host} port {settings.port}"
    try:
        family, address = _place(settings.host, settings.port)
        # asyncio turns Nagle's algorithm off where the protocol is named; otherwise every answer takes 40 ms more.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except (OSError, UnicodeError) as error:
        raise PortTakenError(f"{where} cannot be listened on: {error}.") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise PortTakenError(f"{where} cannot be listened on: {error.strerror}.") from error
    return listening


def _place(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Family and address of a host; names are looked up."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return family, (str(address[0]), port)
    return (socket.AF_INET6 if version == 6 else socket.AF_INET), (host, port)


def load(settings: Settings, opened: ExitStack) -> FastAPI:
    """The application with an open database.

    Args:
        settings: Everything that can be set.
        opened: Closes the database in the end.

    Raises:
        KeysNeededError: Others can reach the server, and there is no key.
        DatabaseError: The database cannot be opened or brought up to date.
    """
    from safelight.jobs.service import Service, prepare
    from safelight.server.app import create_app
    from safelight.server.guard import check_address
    from safelight.server.keys import SCHEMA

    prepare(settings, SCHEMA)
    check_address(settings)
    service = Service.open(settings)
    opened.callback(service.close)
    return create_app(service, settings)


def _configuration(settings: Settings, doorway: Doorway) -> uvicorn.Config:
    return uvicorn.Config(
        doorway,
        host=settings.host,
        port=settings.port,
        http=PatientProtocol,
        ws="websockets-sansio",
        ws_max_size=MAX_MESSAGE,
        loop="asyncio",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        h11_max_incomplete_event_size=MAX_HEADERS,
        limit_concurrency=MAX_CONNECTIONS,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE,
    )
