"""Writing files whole or not at all, and their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from safelight.errors import OutputError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary name beside a file: renamed to it when the block ends well, removed when it does not.

    Args:
        path: What is to be there in the end; its folder is made.

    Raises:
        OutputError: It cannot be written.
    """
    temporary = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """A name in the same folder that no other process and no other thread uses."""
    return path.with_name(f".{path.name[:100]}.{uuid4().hex}.tmp")


def sha256_of(path: Path) -> str:
    """A file's SHA-256, in hexadecimal; ``models.digests`` remembers those of weights.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def exists(path: Path) -> bool:
    """Whether there is something of that name; a name that cannot be one is none."""
    try:
        return path.exists()
    except OSError:  # longer than a name may be, say
        return False
