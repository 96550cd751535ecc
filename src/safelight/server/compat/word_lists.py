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
from safelight.moderation.texts import Blocklist

State = tuple[int, int, int]


class WordLists:
    """The blocklist that was read last. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: tuple[Path, State, Blocklist] | None = None

    def get(self, path: Path) -> Blocklist:
        """The blocklist in a file.

        Raises:
            BlocklistError: It cannot be read or parsed.
        """
        with self._lock:
            state = _state(path)
            if self._last is None or self._last[:2] != (path, state):
                self._last = path, state, Blocklist.read(path)
            return self._last[2]


def _state(path: Path) -> State:
    """Inode, modification time and size, which change when the file does."""
    try:
        found = path.stat()
    except OSError as error:
        raise BlocklistError(f"{path.name} cannot be read: {type(error).__name__}.") from error
    return found.st_ino, found.st_mtime_ns, found.st_size


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, WordLists]]:
    """Keep the cache for as long as the server runs."""
    yield {"word_lists": WordLists()}


def word_lists(connection: HTTPConnection) -> WordLists:
    """The cache of the server that handles a request."""
    found: WordLists = connection.state.word_lists
    return found


TheWordLists = Annotated[WordLists, Depends(word_lists)]
