"""A cache of tokenizers by checkpoint, for token counts while a prompt is being typed."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TypeVar

from safelight.errors import CheckpointMissingError
from safelight.models.checkpoints.discovery import Checkpoint, find_checkpoint
from safelight.models.tokenizers.clip_tokenizer import ClipTokenizer, TokenizerSource, tokenizer_sources
from safelight.server.security.allowlist import check_checkpoint, default_checkpoint_name
from safelight.settings import Settings

SOURCES_TTL = 10.0
"""Seconds before a checkpoint is looked up again."""
MAX_CHECKPOINTS, MAX_TOKENIZERS = 64, 4
"""Maximum number of cached checkpoints, and of cached tokenizers: one takes up to 20 MB."""

Sources = tuple[TokenizerSource, ...]
K = TypeVar("K")
V = TypeVar("V")


class TokenizerCache:
    """Tokenizers of checkpoints. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cached_sources: OrderedDict[str | None, tuple[float, Sources]] = OrderedDict()
        self._tokenizers: OrderedDict[TokenizerSource, ClipTokenizer] = OrderedDict()

    def tokenizers(self, name: str | None, settings: Settings) -> list[ClipTokenizer]:
        """The tokenizers that split a checkpoint's prompts into chunks; empty if it has none or only workers know it.

        Args:
            name: The checkpoint's name in GET /v1/models; the server's default when not given.
            settings: The data directory and the default checkpoint.

        Raises:
            CheckpointMissingError: There is no checkpoint of that name.
            ModelError: The checkpoint cannot be used.
        """
        with self._lock:
            return [self._tokenizer(source) for source in self._sources(name, settings)]

    def _sources(self, name: str | None, settings: Settings) -> Sources:
        until, sources = self._cached_sources.get(name, (0.0, ()))
        if time.monotonic() >= until:
            found = _find_checkpoint(name, settings)
            sources = () if found is None else tokenizer_sources(found)
            self._cached_sources[name] = time.monotonic() + SOURCES_TTL, sources
            _touch(self._cached_sources, name, MAX_CHECKPOINTS)
        return sources

    def _tokenizer(self, source: TokenizerSource) -> ClipTokenizer:
        if source not in self._tokenizers:
            self._tokenizers[source] = source.open()
        _touch(self._tokenizers, source, MAX_TOKENIZERS)
        return self._tokenizers[source]


def _touch(cache: OrderedDict[K, V], key: K, limit: int) -> None:
    """Mark a key as used, and evict the least recently used entry above the limit."""
    cache.move_to_end(key)
    if len(cache) > limit:
        cache.popitem(last=False)


def _find_checkpoint(name: str | None, settings: Settings) -> Checkpoint | None:
    """A checkpoint by its name; None for a default checkpoint that is a hub id, which only workers resolve."""
    if name not in (None, default_checkpoint_name(settings)):
        known = check_checkpoint(str(name), settings)
        return find_checkpoint(
            known, settings.home, folders=settings.current_model_folders, allow_paths=False
        )
    try:
        return find_checkpoint(settings.checkpoint, settings.home, folders=settings.current_model_folders)
    except CheckpointMissingError:
        return None
