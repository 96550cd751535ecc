"""Who may read what Safelight keeps: its owner, and nobody else on this machine.

Prompts, pictures, uploads and the digests of keys of all who use a server lie in the data directory. Folders are 0700
and files 0600 there, whatever the umask. What a user has written elsewhere is theirs to share.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from safelight.logs import logger

OTHERS = 0o077
"""What is taken away: all that a file's group and everybody else may do."""
OURS = (
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
"""What is looked at in a data directory; if it is also somebody's home, the rest is theirs."""


def private_folder(folder: Path) -> None:
    """Make a folder, with those above it that are missing; what is made is for its owner only.

    Raises:
        OSError: It cannot be made.
    """
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)


def private_file(path: Path) -> None:
    """Make an empty file for its owner only, where there is none.

    Raises:
        OSError: It cannot be made.
    """
    if not path.exists():
        os.close(private_opener(str(path), os.O_WRONLY | os.O_CREAT))


def private_opener(path: str, flags: int) -> int:
    """For ``open``: a file that it makes is for its owner only."""
    return os.open(path, flags, 0o600)


def keep_private() -> None:
    """From now on whatever this process makes is for its owner only."""
    os.umask(OTHERS)


def close_to_others(home: Path, *files: Path) -> int:
    """Take away from others what they may do in a data directory; a line in the log says how much it was.

    What is below its folders is looked at only while others can get there, so that a start does not read a whole
    gallery each time.

    Args:
        home: The data directory; it is there.
        files: What belongs to it and lies elsewhere, if it is there.

    Returns:
        How many files and folders were open to others.
    """
    if os.name == "nt":  # where modes say nothing
        return 0
    reachable = bool(home.stat().st_mode & OTHERS)
    closed, failed = 0, 0
    for path in (home, *_inside(home, reachable), *files):
        try:
            mode = path.lstat().st_mode
            if mode & OTHERS and not stat.S_ISLNK(mode):
                path.chmod(stat.S_IMODE(mode) & ~OTHERS)
                closed += 1
        except FileNotFoundError:  # deleted meanwhile, or not there
            continue
        except OSError:
            failed += 1
    if closed or failed:
        logger(__name__).warning("others could read the data directory", closed=closed, still_open=failed)
    return closed


def _inside(home: Path, deep: bool) -> Iterator[Path]:
    for path in (path for pattern in OURS for path in home.glob(pattern)):
        yield path
        if deep and path.is_dir() and not path.is_symlink():
            for folder, folders, files in os.walk(path):
                yield from (Path(folder, name) for name in (*folders, *files))
