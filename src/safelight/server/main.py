"""The server process: it listens first, loads the application afterwards, and never imports torch."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from safelight.logs import get_logger
from safelight.server.bootstrap import BootstrapApp
from safelight.server.core.allocator import configure_malloc, freeze_loaded_objects
from safelight.server.core.http_protocol import HttpProtocol, WebSocketProtocol
from safelight.server.core.listening_socket import BACKLOG, listen
from safelight.server.security.connection_limits import ConnectionLimiter, max_connections
from safelight.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

MAX_HEADERS = 32 * 1024
"""Maximum bytes of a request's line and headers."""
MAX_MESSAGE = 64 * 1024
"""Maximum bytes of a message from a WebSocket client: clients only send signals."""
SWITCH_INTERVAL = 0.001
"""The interpreter's switch interval, in seconds. With the default, which is five times as long, a request waits that
long each time another thread holds the interpreter lock: dozens of times in an ordinary request."""
SHUTDOWN_TIMEOUT = 3
"""Seconds that running requests get to finish at shutdown."""


def serve(settings: Settings) -> None:
    """Answer requests until SIGTERM or SIGINT.

    Raises:
        PortInUseError: The address cannot be listened on.
        SafelightError: The application could not be loaded.
    """
    configure_malloc()
    sys.setswitchinterval(SWITCH_INTERVAL)
    connections = _connection_limiter(settings)
    listening_socket = listen(settings, connections.may_connect)
    errors: list[Exception] = []

    def failed(error: Exception) -> None:
        errors.append(error)
        server.should_exit = True

    for signum in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises the signal again after its shutdown
        signal.signal(signum, lambda *_: None)
    with ExitStack() as opened:
        bootstrap = BootstrapApp(lambda: load_app(settings, opened), failed)
        server = uvicorn.Server(_uvicorn_config(settings, bootstrap, connections))
        get_logger(__name__).info("listening", host=settings.host, port=settings.port)
        server.run(sockets=[listening_socket])
    if errors:
        raise errors[0]


def load_app(settings: Settings, stack: ExitStack) -> FastAPI:
    """Create the application with an open database.

    Args:
        settings: The server's settings.
        stack: The stack that closes the database at exit.

    Raises:
        UnprotectedServerError: Others can reach the server, and there is no key.
        DatabaseError: The database cannot be opened or brought up to date.
    """
    from safelight.jobs.queue_service import QueueService, prepare_database
    from safelight.server.app import create_app
    from safelight.server.security.bind_policy import check_bind_address
    from safelight.server.security.keys import SCHEMA

    prepare_database(settings, SCHEMA)
    check_bind_address(settings)
    service = QueueService.open(settings)
    stack.callback(service.close)
    app = create_app(service, settings, on_ui_loaded=freeze_loaded_objects)
    freeze_loaded_objects()
    return app


def _connection_limiter(settings: Settings) -> ConnectionLimiter:
    """The connection limiter; it recognizes trusted proxies by uvicorn's own rule for forwarded headers."""
    proxies = ProxyHeadersMiddleware(cast(Any, None), list(settings.trusted_proxies)).trusted_hosts
    return ConnectionLimiter(*max_connections(), proxies.__contains__)


def _uvicorn_config(settings: Settings, app: BootstrapApp, connections: ConnectionLimiter) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=partial(HttpProtocol, connections=connections),  # type: ignore[arg-type]  # only called
        ws=partial(WebSocketProtocol, connections=connections),  # type: ignore[arg-type]
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
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
    )
