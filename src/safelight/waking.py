"""Waking a thread that waits: from another thread, from a signal's handler, or by a file that can be read."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Collection
from contextlib import suppress
from typing import Protocol


class HasFileno(Protocol):
    """Anything with a file descriptor; on Windows, only sockets."""

    def fileno(self) -> int:
        """The descriptor."""


class Waker:
    """Waits until it is woken, a file becomes readable, or a time has passed.

    One thread waits; any number of threads and signal handlers may wake it. A wake-up while nobody waits ends the next
    wait at once.
    """

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._receiver, selectors.EVENT_READ)

    def watch(self, file: int | HasFileno) -> None:
        """End waiting also when this file can be read."""
        self._selector.register(file, selectors.EVENT_READ)

    def forget(self, file: int | HasFileno) -> None:
        """Watch a file no longer."""
        with suppress(KeyError, ValueError, OSError):
            self._selector.unregister(file)

    def wake(self) -> None:
        """End the wait, or the next one."""
        with suppress(OSError):  # full: it will wake anyway; or closed
            self._sender.send(b"\0")

    def wait(self, seconds: float | None = None) -> Collection[int]:
        """Wait at most so many seconds, for ever with None; returns the watched descriptors that can be read."""
        ready = [key.fd for key, _ in self._selector.select(seconds)]
        own = self._receiver.fileno()
        if own in ready:
            with suppress(BlockingIOError):
                while self._receiver.recv(4096):
                    pass
        return [descriptor for descriptor in ready if descriptor != own]

    def close(self) -> None:
        """Give the descriptors back; nobody may wait any more."""
        self._selector.close()
        self._receiver.close()
        self._sender.close()
