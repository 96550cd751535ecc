"""A cache of tokenizers by checkpoint, for token counts while a prompt is being typed."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TypeVar

from safelight.errors import CheckpointMissingError
from safelight.models.checkpoints import Checkpoint, resolve
from safelight.models.clip_tokens import ClipSource, ClipTokens, clip_sources
from safelight.server.names import check_checkpoint, own_name
from safelight.settings import Settings

SURE_FOR = 10.0
"""Seconds before a checkpoint is looked up again."""
MOST_NAMES, MOST_OPEN = 64, 4
"""Maximum number of cached checkpoints, and of cached tokenizers: one takes up to 20 MB."""

Sources = tuple[ClipSource, ...]
K = TypeVar("K")
V = TypeVar("V")


class Counting:
    """Tokenizers of checkpoints. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str | None, tuple[float, Sources]] = OrderedDict()
        self._open: OrderedDict[ClipSource, ClipTokens] = OrderedDict()

    def tokenizers(self, name: str | None, settings: Settings) -> list[ClipTokens]:
        """The tokenizers that split a checkpoint's prompts into chunks; empty if it has none or only workers know it.

        Args:
            name: The checkpoint's name in GET /v1/models; the server's default when not given.
            settings: The data directory and the default checkpoint.

        Raises:
            CheckpointMissingError: There is no checkpoint of that name.
            ModelError: The checkpoint cannot be used.
        """
        with self._lock:
            return [self._tokens(source) for source in self._sources(name, settings)]

    def _sources(self, name: str | None, settings: Settings) -> Sources:
        until, sources = self._known.get(name, (0.0, ()))
        if time.monotonic() >= until:
            found = _checkpoint(name, settings)
            sources = () if found is None else clip_sources(found)
            self._known[name] = time.monotonic() + SURE_FOR, sources
            _keep(self._known, name, MOST_NAMES)
        return sources

    def _tokens(self, source: ClipSource) -> ClipTokens:
        if source not in self._open:
            self._open[source] = source.open()
        _keep(self._open, source, MOST_OPEN)
        return self._open[source]


def _keep(memory: OrderedDict[K, V], key: K, most: int) -> None:
    """Mark a key as used, and evict the least recently used entry above the limit."""
    memory.move_to_end(key)
    if len(memory) > most:
        memory.popitem(last=False)


def _checkpoint(name: str | None, settings: Settings) -> Checkpoint | None:
    """A checkpoint by its name; None for a default checkpoint that is a hub id, which only workers resolve."""
    if name not in (None, own_name(settings)):
        return resolve(check_checkpoint(str(name), settings.home), settings.home, paths=False)
    try:
        return resolve(settings.checkpoint, settings.home)
    except CheckpointMissingError:
        return None
