"""Lists of words, read once and again when their file has changed."""

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
    """The list that was read last; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: tuple[Path, State, Blocklist] | None = None

    def get(self, path: Path) -> Blocklist:
        """The list in a file.

        Raises:
            BlocklistError: It cannot be read, or not used.
        """
        with self._lock:
            state = _state(path)
            if self._last is None or self._last[:2] != (path, state):
                self._last = path, state, Blocklist.read(path)
            return self._last[2]


def _state(path: Path) -> State:
    """What changes when a file does."""
    try:
        found = path.stat()
    except OSError as error:
        raise BlocklistError(f"{path.name} cannot be read: {type(error).__name__}.") from error
    return found.st_ino, found.st_mtime_ns, found.st_size


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, WordLists]]:
    """The lists, for as long as the server runs."""
    yield {"word_lists": WordLists()}


def word_lists(connection: HTTPConnection) -> WordLists:
    """The lists of the server that a request came to."""
    found: WordLists = connection.state.word_lists
    return found


TheWordLists = Annotated[WordLists, Depends(word_lists)]
