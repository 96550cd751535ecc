"""Notifications between the processes that use one database, so that nobody has to poll it for changes.

A notification is sent by the transaction that makes the change, once it is committed. It says on which channel there
is something new, and nothing else: the database holds what is new. PostgreSQL has LISTEN and NOTIFY for it. With SQLite
all processes run on one machine, and each listener has a named pipe for each of its channels in a folder beside the
database.

Delivery is not guaranteed. Each listener therefore also reports a channel when ``BACKSTOP`` seconds have passed without
a notification, so that a lost one delays a reaction but prevents none. Where there are no named pipes (Windows, and
some file systems) every channel is reported each ``POLL`` seconds.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from safelight.file_permissions import create_private_folder
from safelight.logs import get_logger
from safelight.waking import Waker

BACKSTOP = 3.0
"""Seconds after which a channel is reported although no notification came."""
POLL = 0.25
"""Seconds between two reports of a channel where there are no notifications, or no connection to get them by."""
PENDING = "safelight_notifications"
"""The execution option under which a connection keeps the channels that its transaction will notify."""
FOLDER = "listeners"
"""The name of the folder of named pipes beside an SQLite database."""
PREFIX = "safelight_"
"""What the names of our channels begin with in PostgreSQL."""
_ALIVE = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=4"


def notify(connection: Connection, channel: str) -> None:
    """Notify all listeners of a channel when the transaction of ``writing`` that is open is committed."""
    pending: dict[str, None] | None = connection.get_execution_options().get(PENDING)
    if pending is not None:
        pending[channel] = None


def send_before_commit(connection: Connection, channels: Iterable[str]) -> None:
    """Hand the notifications of a transaction to PostgreSQL, which delivers them when it is committed."""
    if connection.dialect.name == "postgresql":
        for channel in channels:
            connection.execute(text("SELECT pg_notify(:channel, '')"), {"channel": PREFIX + channel})


def send_after_commit(engine: Engine, channels: Iterable[str]) -> None:
    """Deliver the notifications of a transaction that was committed to an SQLite database."""
    if engine.dialect.name == "sqlite":
        for channel in channels:
            _write_to_pipes(_folder_of(engine.url), channel)


class Source(Protocol):
    """Where a listener gets notifications from."""

    def open(self, waker: Waker) -> bool:
        """Begin to receive, and let the waker watch for it; False if that is not possible now."""

    def read(self) -> set[str]:
        """The channels that were notified since this was asked last.

        Raises:
            OSError, SQLAlchemyError: Nothing can be received any more; the source has to be opened again.
        """

    def close(self) -> None:
        """Receive nothing more."""


class Listener:
    """Waits for notifications on some channels. One thread waits; any thread and signal handler may wake it.

    Args:
        source: Where notifications come from; without one, channels are reported each ``POLL`` seconds.
        channels: Which ones.
    """

    def __init__(self, source: Source | None, channels: Sequence[str]) -> None:
        self._source, self._channels = source, tuple(channels)
        self._waker = Waker()
        self._closed = False
        self._connected = source is not None and source.open(self._waker)
        self._due = dict.fromkeys(channels, time.monotonic())

    def wait(self, seconds: float = BACKSTOP) -> set[str]:
        """Wait until there may be something new, and at most so long.

        Args:
            seconds: How long.

        Returns:
            The channels on which there may be something new; none when the time has passed or ``wake`` was called.
        """
        now = time.monotonic()
        if not self._overdue(now):
            self._waker.wait(max(0.0, min(seconds, min(self._due.values(), default=now + seconds) - now)))
        changed = self._received() | self._overdue(time.monotonic())
        again = time.monotonic() + (BACKSTOP if self._connected else POLL)
        for channel in changed & self._due.keys():
            self._due[channel] = again
        return changed

    def wake(self) -> None:
        """End the wait, or the next one. May be called by a signal's handler."""
        self._waker.wake()

    def close(self) -> None:
        """Receive nothing more; nobody may wait any more."""
        if self._source is not None:
            self._source.close()
        self._waker.close()

    def _overdue(self, now: float) -> set[str]:
        return {channel for channel, due in self._due.items() if due <= now}

    def _received(self) -> set[str]:
        if self._source is None:
            return set()
        if not self._connected:
            self._connected = self._source.open(self._waker)
            return set(self._channels) if self._connected else set()
        try:
            return self._source.read()
        except (OSError, SQLAlchemyError) as error:
            get_logger(__name__).warning("notifications interrupted", error=type(error).__name__)
            self._source.close()
            self._connected = False
            return set(self._channels)


def listen(engine: Engine, *channels: str) -> Listener:
    """A listener to channels of a database, which reports each of them once at the beginning.

    Args:
        engine: The database; the listener has a connection of its own.
        channels: Their names: ASCII letters and underscores.
    """
    if engine.dialect.name == "postgresql":
        return Listener(_PostgresNotifications(engine.url, channels), channels)
    if not hasattr(os, "mkfifo"):
        return Listener(None, channels)
    return Listener(_NamedPipes(_folder_of(engine.url), channels), channels)


class _NamedPipes:
    def __init__(self, folder: Path, channels: Sequence[str]) -> None:
        self._folder, self._channels = folder, channels
        self._pipes: dict[int, tuple[str, Path]] = {}
        self._waker: Waker | None = None
        self._failed = False

    def open(self, waker: Waker) -> bool:
        self._waker = waker
        try:
            create_private_folder(self._folder)
            for channel in self._channels:
                self._make(channel, waker)
        except OSError as error:
            if not self._failed:
                get_logger(__name__).warning("no notifications, polling instead", error=error.strerror)
            self._failed = True
            self.close()
            return False
        return True

    def _make(self, channel: str, waker: Waker) -> None:
        name = f"{channel}.{os.getpid()}.{secrets.token_hex(4)}"
        hidden = self._folder / f".{name}"  # who finds a pipe that nobody reads deletes it
        os.mkfifo(hidden, 0o600)
        descriptor = os.open(hidden, os.O_RDWR | os.O_NONBLOCK)
        path = hidden.rename(self._folder / name)
        self._pipes[descriptor] = (channel, path)
        waker.watch(descriptor)

    def read(self) -> set[str]:
        changed = set()
        for descriptor, (channel, _) in self._pipes.items():
            with suppress(BlockingIOError):
                while os.read(descriptor, 4096):
                    changed.add(channel)
        return changed

    def close(self) -> None:
        for descriptor, (_, path) in self._pipes.items():
            if self._waker is not None:
                self._waker.forget(descriptor)
            path.unlink(missing_ok=True)
            os.close(descriptor)
        self._pipes.clear()


def _write_to_pipes(folder: Path, channel: str) -> None:
    """Wake every listener of a channel; the pipes of those that died are deleted."""
    with suppress(OSError):  # nobody has ever listened; or the folder cannot be read
        for entry in os.scandir(folder):
            if entry.name.startswith(f"{channel}."):
                _write_to_pipe(entry.path)


def _write_to_pipe(path: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # nobody reads it
        with suppress(OSError):
            os.unlink(path)  # noqa: PTH108  the paths come from scandir
        return
    with suppress(OSError):  # full: its reader has enough to wake up by
        os.write(descriptor, b"\0")
    os.close(descriptor)


def _folder_of(url: URL) -> Path:
    path = Path(url.database or "")
    return path.parent / FOLDER / path.name


class _PostgresNotifications:
    def __init__(self, url: URL, channels: Sequence[str]) -> None:
        self._channels = channels
        self._engine = create_engine(
            url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={"application_name": "safelight listener", "options": _ALIVE, "connect_timeout": 5},
            hide_parameters=True,
        )
        self._connection: Connection | None = None
        self._watched: tuple[Waker, int] | None = None
        self._tried = -POLL

    def open(self, waker: Waker) -> bool:
        if time.monotonic() - self._tried < POLL:
            return False
        self._tried = time.monotonic()
        try:
            self._connection = self._engine.connect()
            for channel in self._channels:
                self._connection.exec_driver_sql(f'LISTEN "{PREFIX}{channel}"')
            descriptor = self._driver.fileno()
            waker.watch(descriptor)
            self._watched = (waker, descriptor)
        except (OSError, SQLAlchemyError):
            self.close()
            return False
        return True

    @property
    def _driver(self) -> Any:  # psycopg's connection
        assert self._connection is not None
        return self._connection.connection.driver_connection

    def read(self) -> set[str]:
        try:
            return {
                notification.channel.removeprefix(PREFIX) for notification in self._driver.notifies(timeout=0)
            }
        except Exception as error:
            if type(error).__module__.partition(".")[0] != "psycopg":
                raise
            raise OSError("the connection is gone") from error  # psycopg is there only where it is used

    def close(self) -> None:
        if self._connection is None:
            return
        if self._watched is not None:
            waker, descriptor = self._watched
            waker.forget(descriptor)
            self._watched = None
        with suppress(SQLAlchemyError):
            self._connection.invalidate()
            self._connection.close()
        self._connection = None
