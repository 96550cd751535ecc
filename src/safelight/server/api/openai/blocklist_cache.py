"""Cache of the blocklist: read once, and again when its file has changed."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi.requests import HTTPConnection

from safelight.errors import BlocklistError
from safelight.moderation.blocklist import Blocklist

FileState = tuple[int, int, int]


class BlocklistCache:
    """The blocklist that was read last. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: tuple[Path, FileState, Blocklist] | None = None

    def get(self, path: Path) -> Blocklist:
        """The blocklist in a file.

        Raises:
            BlocklistError: It cannot be read or parsed.
        """
        with self._lock:
            state = _file_state(path)
            if self._last is None or self._last[:2] != (path, state):
                self._last = path, state, Blocklist.load(path)
            return self._last[2]


def _file_state(path: Path) -> FileState:
    """Inode, modification time and size, which change when the file does."""
    try:
        found = path.stat()
    except OSError as error:
        raise BlocklistError(f"{path.name} cannot be read: {type(error).__name__}.") from error
    return found.st_ino, found.st_mtime_ns, found.st_size


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, BlocklistCache]]:
    """Keep the cache for as long as the server runs."""
    yield {"word_lists": BlocklistCache()}


def blocklist_cache(connection: HTTPConnection) -> BlocklistCache:
    """The cache of the server that handles a request."""
    found: BlocklistCache = connection.state.word_lists
    return found


CurrentBlocklistCache = Annotated[BlocklistCache, Depends(blocklist_cache)]
