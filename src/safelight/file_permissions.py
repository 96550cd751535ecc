"""File permissions of the data directory: only its owner can read it.

The data directory holds prompts, pictures, uploads and key digests of all users of a server. Its folders have mode 0700
and its files 0600, whatever the umask. Files that a user has written elsewhere are not touched.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from safelight.logs import get_logger

OTHERS_MASK = 0o077
"""The permission bits of group and others, which are removed."""
DATA_PATTERNS = (
    "gallery",
    "models",
    "cache",
    "locks",
    "listeners",
    "safelight.db*",
    "safelight.toml",
    "audit.log*",
    "security.log*",
    ".audit.lock",
)
"""The files and folders of Safelight in a data directory; others, for example in a home directory, are not touched."""


def create_private_folder(folder: Path) -> None:
    """Create a folder and its missing parents with permissions for the owner only.

    Raises:
        OSError: A folder cannot be created.
    """
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)


def create_private_file(path: Path) -> None:
    """Create an empty file with permissions for the owner only, unless it exists.

    Raises:
        OSError: The file cannot be created.
    """
    if not path.exists():
        os.close(private_opener(str(path), os.O_WRONLY | os.O_CREAT))


def private_opener(path: str, flags: int) -> int:
    """An opener for ``open`` that creates files with permissions for the owner only."""
    return os.open(path, flags, 0o600)


def set_private_umask() -> None:
    """Set the umask so that this process creates files and folders for the owner only."""
    os.umask(OTHERS_MASK)


def remove_others_permissions(home: Path, *files: Path) -> int:
    """Remove the permissions of group and others in a data directory, and log how many files had them.

    The contents of folders are checked only if others can reach the data directory, so that a start does not read a
    whole gallery each time.

    Args:
        home: The data directory; it exists.
        files: Files outside it that belong to it; they need not exist.

    Returns:
        Number of files and folders whose permissions were changed.
    """
    if os.name == "nt":  # modes have no meaning on Windows
        return 0
    reachable = bool(home.stat().st_mode & OTHERS_MASK)
    closed, failed = 0, 0
    for path in (home, *_iter_data_files(home, reachable), *files):
        try:
            mode = path.lstat().st_mode
            if mode & OTHERS_MASK and not stat.S_ISLNK(mode):
                path.chmod(stat.S_IMODE(mode) & ~OTHERS_MASK)
                closed += 1
        except FileNotFoundError:  # missing, or deleted meanwhile
            continue
        except OSError:
            failed += 1
    if closed or failed:
        get_logger(__name__).warning("others could read the data directory", closed=closed, still_open=failed)
    return closed


def _iter_data_files(home: Path, deep: bool) -> Iterator[Path]:
    for path in (path for pattern in DATA_PATTERNS for path in home.glob(pattern)):
        yield path
        if deep and path.is_dir() and not path.is_symlink():
            for folder, folders, files in os.walk(path):
                yield from (Path(folder, name) for name in (*folders, *files))
