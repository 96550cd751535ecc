"""File locks held by the operating system, which releases them when the process ends, however it ends."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from safelight.logs import get_logger

if sys.platform != "win32":
    import fcntl

RETRY_SECONDS = 0.1
"""Seconds between two attempts to acquire a lock."""


class FileLock:
    """An exclusive lock among the processes of this machine, or of all hosts that share the file system.

    Where Python has no ``flock`` (Windows) nothing is locked, and a warning says so.

    Args:
        path: The file, in an existing folder. It stays after the release, with a note about the last holder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def acquire(self, note: str, timeout: float = 0.0) -> bool:
        """Acquire the lock, waiting for it if necessary; False if another process holds it.

        Args:
            note: A short description of the holder, for processes that do not get the lock.
            timeout: Seconds to wait.

        Raises:
            OSError: The file cannot be opened.
        """
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        if not _try_lock(file, time.monotonic() + timeout):
            os.close(file)
            return False
        os.ftruncate(file, 0)
        os.write(file, note.encode())
        self._file = file  # open while the lock is held
        return True

    def holder(self) -> str:
        """The holder's note; "another process" if it cannot be read."""
        try:
            return self.path.read_text(encoding="utf-8").strip()[:200] or "another process"
        except (OSError, UnicodeDecodeError):
            return "another process"

    def release(self) -> None:
        """Release the lock."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _try_lock(file: int, deadline: float) -> bool:
    if sys.platform == "win32":
        get_logger(__name__).warning(
            "files cannot be locked here: two servers on one data directory go unnoticed"
        )
        return True
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(RETRY_SECONDS)
        else:
            return True
