"""The server process: it listens first, loads the application afterwards, and never imports torch."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from safelight.logs import logger
from safelight.server.allocator import give_memory_back, leave_to_stay
from safelight.server.connections import Connections, most_connections
from safelight.server.doorway import Doorway
from safelight.server.listening import BACKLOG, listen
from safelight.server.protocol import PatientProtocol, PatientWebSocket
from safelight.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

MAX_HEADERS = 32 * 1024
"""Maximum bytes of a request's line and headers."""
MAX_MESSAGE = 64 * 1024
"""Maximum bytes of a message from a WebSocket client: clients only send signals."""
SWITCH = 0.001
"""The interpreter's switch interval, in seconds. With the default, which is five times as long, a request waits that
long each time another thread holds the interpreter lock: dozens of times in an ordinary request."""
GRACE = 3
"""Seconds that running requests get to finish at shutdown."""


def serve(settings: Settings) -> None:
    """Answer requests until SIGTERM or SIGINT.

    Raises:
        PortTakenError: The address cannot be listened on.
        SafelightError: The application could not be loaded.
    """
    give_memory_back()
    sys.setswitchinterval(SWITCH)
    connections = _connections(settings)
    listening = listen(settings, connections.may_connect)
    problems: list[Exception] = []

    def failed(error: Exception) -> None:
        problems.append(error)
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises the signal again after its shutdown
        signal.signal(number, lambda *_: None)
    with ExitStack() as opened:
        doorway = Doorway(lambda: load(settings, opened), failed)
        server = uvicorn.Server(_configuration(settings, doorway, connections))
        logger(__name__).info("listening", host=settings.host, port=settings.port)
        server.run(sockets=[listening])
    if problems:
        raise problems[0]


def load(settings: Settings, opened: ExitStack) -> FastAPI:
    """Create the application with an open database.

    Args:
        settings: The server's settings.
        opened: The stack that closes the database at exit.

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
    app = create_app(service, settings, loaded=leave_to_stay)
    leave_to_stay()
    return app


def _connections(settings: Settings) -> Connections:
    """The connection limiter; it recognizes trusted proxies by uvicorn's own rule for forwarded headers."""
    proxies = ProxyHeadersMiddleware(cast(Any, None), list(settings.trusted_proxies)).trusted_hosts
    return Connections(*most_connections(), proxies.__contains__)


def _configuration(settings: Settings, doorway: Doorway, connections: Connections) -> uvicorn.Config:
    return uvicorn.Config(
        doorway,
        host=settings.host,
        port=settings.port,
        http=partial(PatientProtocol, connections=connections),  # type: ignore[arg-type]  # only called
        ws=partial(PatientWebSocket, connections=connections),  # type: ignore[arg-type]
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
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE,
    )
