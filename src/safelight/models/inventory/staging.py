"""Where files of weights arrive before they are checked: hidden folders, which nothing reads, beside their places."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path

from safelight.atomic_write import atomic_write

STAGING = ".downloads"
MAX_AGE = 7 * 86400
"""Seconds after which what was abandoned is deleted."""
FREE_SPACE = 64 * 1024 * 1024
"""Bytes that are left free on the disk."""


def delete_abandoned(staging: Path) -> None:
    """Delete what has not changed for a week."""
    for entry in staging.glob("*"):
        with suppress(OSError):
            inside = [entry, *(entry.rglob("*") if entry.is_dir() else ())]
            if max(path.stat().st_mtime for path in inside) < time.time() - MAX_AGE:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def move_file(source: Path, target: Path) -> None:
    """Move a file, in one step also where the target is on another disk.

    Raises:
        OutputError, OSError: It cannot be moved.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.replace(target)
    except OSError:
        with atomic_write(target) as temporary:
            shutil.copyfile(source, temporary)
        source.unlink()


def remove_if_empty(folder: Path) -> None:
    """Remove a folder unless something is in it."""
    with suppress(OSError):
        folder.rmdir()
