"""Locks on files, held by the operating system: they end with the process that has them, however it ends."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from safelight.logs import logger

if sys.platform != "win32":
    import fcntl

LOOK_EVERY = 0.1
"""Seconds between two tries to get a lock that is waited for."""


class FileLock:
    """A lock that one process on this machine, or on a file system that hosts share, can have at a time.

    Where Python has no ``flock`` (Windows) nothing is locked, and a warning says so.

    Args:
        path: The file; its folder is there. It stays when the lock is given back, with a note of who had it last.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def acquire(self, note: str, patience: float = 0.0) -> bool:
        """Get it, or wait for it; False if somebody else has it.

        Args:
            note: Who has it, in a few words, for those who do not get it.
            patience: Seconds to wait.

        Raises:
            OSError: The file cannot be opened.
        """
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        if not _locked(file, time.monotonic() + patience):
            os.close(file)
            return False
        os.ftruncate(file, 0)
        os.write(file, note.encode())
        self._file = file  # open for as long as it is held
        return True

    def holder(self) -> str:
        """What the one who has it wrote; "another process" where that cannot be read."""
        try:
            return self.path.read_text(encoding="utf-8").strip()[:200] or "another process"
        except (OSError, UnicodeDecodeError):
            return "another process"

    def release(self) -> None:
        """Give it back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _locked(file: int, deadline: float) -> bool:
    if sys.platform == "win32":
        logger(__name__).warning(
            "files cannot be locked here: two servers on one data directory go unnoticed"
        )
        return True
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOOK_EVERY)
        else:
            return True
