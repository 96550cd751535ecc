"""Notifications between the processes that use one database, which make polling unnecessary.

A notification is sent by the transaction that makes a change, when it is committed. It names the channel on which
something has changed, and nothing else: the database holds the change. PostgreSQL has LISTEN and NOTIFY for this.
With SQLite all processes run on one machine, and each listener has a named pipe per channel in a folder beside the
database.

Delivery is not guaranteed. Each listener therefore also reports a channel when ``FALLBACK_INTERVAL`` seconds have
passed
without a notification, so that a lost one only delays a reaction. Without named pipes (on Windows, and some file
systems) every channel is reported each ``POLL_INTERVAL`` seconds.
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

FALLBACK_INTERVAL = 3.0
"""Seconds without a notification after which a channel is reported anyway."""
POLL_INTERVAL = 0.25
"""Seconds between two reports of a channel without notifications, or without a connection to receive them."""
PENDING_OPTION = "safelight_notifications"
"""The execution option that holds the channels to notify when a connection's transaction is committed."""
PIPE_FOLDER = "listeners"
"""The name of the folder of named pipes beside an SQLite database."""
CHANNEL_PREFIX = "safelight_"
"""The prefix of our channel names in PostgreSQL."""
_KEEPALIVE_OPTIONS = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=4"


def notify(connection: Connection, channel: str) -> None:
    """Notify all listeners of a channel when the open ``writing`` transaction is committed."""
    pending: dict[str, None] | None = connection.get_execution_options().get(PENDING_OPTION)
    if pending is not None:
        pending[channel] = None


def send_before_commit(connection: Connection, channels: Iterable[str]) -> None:
    """Pass a transaction's notifications to PostgreSQL, which delivers them with the commit."""
    if connection.dialect.name == "postgresql":
        for channel in channels:
            connection.execute(text("SELECT pg_notify(:channel, '')"), {"channel": CHANNEL_PREFIX + channel})


def send_after_commit(engine: Engine, channels: Iterable[str]) -> None:
    """Deliver the notifications of a transaction that was committed to an SQLite database."""
    if engine.dialect.name == "sqlite":
        for channel in channels:
            _write_to_pipes(_pipe_folder(engine.url), channel)


class NotificationSource(Protocol):
    """A source of notifications for a listener."""

    def open(self, waker: Waker) -> bool:
        """Start receiving, with the waker watching; False if that is not possible now."""

    def read(self) -> set[str]:
        """The channels that were notified since the last call.

        Raises:
            OSError, SQLAlchemyError: The source no longer receives and has to be opened again.
        """

    def close(self) -> None:
        """Stop receiving."""


class Listener:
    """Waits for notifications on some channels. One thread waits; any thread or signal handler may wake it.

    Args:
        source: The source of notifications; without one, channels are reported each ``POLL_INTERVAL`` seconds.
        channels: The channels' names.
    """

    def __init__(self, source: NotificationSource | None, channels: Sequence[str]) -> None:
        self._source, self._channels = source, tuple(channels)
        self._waker = Waker()
        self._closed = False
        self._connected = source is not None and source.open(self._waker)
        self._due = dict.fromkeys(channels, time.monotonic())

    def wait(self, timeout: float = FALLBACK_INTERVAL) -> set[str]:
        """Wait for changes, up to a timeout.

        Args:
            timeout: The timeout.

        Returns:
            The channels on which something may have changed; none after the timeout or ``wake``.
        """
        now = time.monotonic()
        if not self._overdue(now):
            self._waker.wait(max(0.0, min(timeout, min(self._due.values(), default=now + timeout) - now)))
        changed = self._read_source() | self._overdue(time.monotonic())
        next_due = time.monotonic() + (FALLBACK_INTERVAL if self._connected else POLL_INTERVAL)
        for channel in changed & self._due.keys():
            self._due[channel] = next_due
        return changed

    def wake(self) -> None:
        """End the current wait, or the next one. A signal handler may call it."""
        self._waker.wake()

    def close(self) -> None:
        """Stop receiving; no thread may be waiting."""
        if self._source is not None:
            self._source.close()
        self._waker.close()

    def _overdue(self, now: float) -> set[str]:
        return {channel for channel, due in self._due.items() if due <= now}

    def _read_source(self) -> set[str]:
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
    """A listener for channels of a database, which initially reports each of them once.

    Args:
        engine: The database; the listener opens its own connection.
        channels: Channel names: ASCII letters and underscores.
    """
    if engine.dialect.name == "postgresql":
        return Listener(_PostgresNotifications(engine.url, channels), channels)
    if not hasattr(os, "mkfifo"):
        return Listener(None, channels)
    return Listener(_NamedPipes(_pipe_folder(engine.url), channels), channels)


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
                self._create_pipe(channel, waker)
        except OSError as error:
            if not self._failed:
                get_logger(__name__).warning("no notifications, polling instead", error=error.strerror)
            self._failed = True
            self.close()
            return False
        return True

    def _create_pipe(self, channel: str, waker: Waker) -> None:
        name = f"{channel}.{os.getpid()}.{secrets.token_hex(4)}"
        hidden_path = self._folder / f".{name}"  # senders delete a pipe without a reader
        os.mkfifo(hidden_path, 0o600)
        descriptor = os.open(hidden_path, os.O_RDWR | os.O_NONBLOCK)
        path = hidden_path.rename(self._folder / name)
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
    """Wake every listener of a channel, and delete the pipes of listeners that ended."""
    with suppress(OSError):  # there was no listener yet, or the folder cannot be read
        for entry in os.scandir(folder):
            if entry.name.startswith(f"{channel}."):
                _write_to_pipe(entry.path)


def _write_to_pipe(path: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # it has no reader
        with suppress(OSError):
            os.unlink(path)  # noqa: PTH108  the paths come from scandir
        return
    with suppress(OSError):  # full: its reader will wake up anyway
        os.write(descriptor, b"\0")
    os.close(descriptor)


def _pipe_folder(url: URL) -> Path:
    path = Path(url.database or "")
    return path.parent / PIPE_FOLDER / path.name


class _PostgresNotifications:
    def __init__(self, url: URL, channels: Sequence[str]) -> None:
        self._channels = channels
        self._engine = create_engine(
            url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={
                "application_name": "safelight listener",
                "options": _KEEPALIVE_OPTIONS,
                "connect_timeout": 5,
            },
            hide_parameters=True,
        )
        self._connection: Connection | None = None
        self._watched: tuple[Waker, int] | None = None
        self._last_attempt = -POLL_INTERVAL

    def open(self, waker: Waker) -> bool:
        if time.monotonic() - self._last_attempt < POLL_INTERVAL:
            return False
        self._last_attempt = time.monotonic()
        try:
            self._connection = self._engine.connect()
            for channel in self._channels:
                self._connection.exec_driver_sql(f'LISTEN "{CHANNEL_PREFIX}{channel}"')
            descriptor = self._driver_connection.fileno()
            waker.watch(descriptor)
            self._watched = (waker, descriptor)
        except (OSError, SQLAlchemyError):
            self.close()
            return False
        return True

    @property
    def _driver_connection(self) -> Any:  # psycopg's connection
        assert self._connection is not None
        return self._connection.connection.driver_connection

    def read(self) -> set[str]:
        try:
            return {
                notification.channel.removeprefix(CHANNEL_PREFIX)
                for notification in self._driver_connection.notifies(timeout=0)
            }
        except Exception as error:
            if type(error).__module__.partition(".")[0] != "psycopg":
                raise
            raise OSError("the connection is gone") from error  # psycopg is imported only where it is used

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
