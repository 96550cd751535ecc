"""SHA-256 digests of weights files, cached by path, size and modification time: on the disk, and in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from safelight.atomic_write import atomic_write, sha256_of
from safelight.errors import FileMissingError, OutputError

FileVersion = tuple[int, int]
"""A file's size in bytes and its modification time in nanoseconds since 1970."""


class FileDigests:
    """Digests of files, kept in memory too: a file is hashed once until it changes, also without a cache folder.

    Threads may share it; two that ask for the same file at the same time may both hash it.

    Args:
        cache: The cache folder; None keeps digests in memory only.
    """

    def __init__(self, cache: Path | None) -> None:
        self._cache = cache
        self._known: dict[Path, tuple[FileVersion, str]] = {}

    def digest(self, path: Path) -> str:
        """A file's SHA-256, in hexadecimal; costs one ``stat`` while the file does not change.

        Raises:
            FileMissingError: The file cannot be read.
        """
        version = file_version(
            path
        )  # before hashing: a file that changes meanwhile is hashed again next time
        known = self._known.get(path)
        if known is None or known[0] != version:
            known = self._known[path] = version, file_digest(path, self._cache)
        return known[1]


def file_version(path: Path) -> FileVersion:
    """What changes when a file is replaced or written to: its size in bytes and its modification time in nanoseconds.

    Raises:
        FileMissingError: The file does not exist or cannot be read.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise FileMissingError(f"{path} cannot be read: {error.strerror or error}.") from error
    return stat.st_size, stat.st_mtime_ns


def file_digest(path: Path, cache: Path | None) -> str:
    """A file's SHA-256, in hexadecimal.

    Args:
        path: The file.
        cache: The cache folder, which keeps the digest until the file changes; None caches nothing.

    Raises:
        FileMissingError: The file cannot be read.
    """
    try:
        if cache is None:
            return sha256_of(path)
        memory, key = _cache_entry(path, cache)
        if (known := _read_entry(memory, key)) is not None:
            return known
        digest = sha256_of(path)
    except OSError as error:
        raise FileMissingError(f"{path} cannot be read: {error.strerror or error}.") from error
    _write_entry(memory, key | {"sha256": digest})
    return digest


def remember_digest(path: Path, digest: str, cache: Path) -> None:
    """Keep a file's SHA-256 that was computed while it was written; without effect if the file is gone."""
    with suppress(OSError):
        memory, key = _cache_entry(path, cache)
        _write_entry(memory, key | {"sha256": digest})


def cached_digest(path: Path, cache: Path) -> str | None:
    """A file's cached SHA-256; None if it would have to be computed."""
    try:
        return _read_entry(*_cache_entry(path, cache))
    except OSError:
        return None


def combined_digest(files: Iterable[Path], cache: Path | None) -> str:
    """One digest for a folder's components: over one line "component/file digest" per file, sorted.

    Raises:
        FileMissingError: One of them cannot be read.
    """
    return combine_digests((file, file_digest(file, cache)) for file in files)


def cached_combined_digest(files: Iterable[Path], cache: Path) -> str | None:
    """The cached ``combined_digest``; None if a file's digest is not cached."""
    parts = [(file, cached_digest(file, cache)) for file in files]
    known = [(file, digest) for file, digest in parts if digest is not None]
    return combine_digests(known) if len(known) == len(parts) else None


def combine_digests(parts: Iterable[tuple[Path, str]]) -> str:
    """The ``combined_digest`` of files whose digests are known."""
    lines = sorted(f"{file.parent.name}/{file.name} {digest}\n" for file, digest in parts)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _cache_entry(path: Path, cache: Path) -> tuple[Path, dict[str, object]]:
    """The path of a file's cache entry, and the properties that must match for the entry to be valid."""
    stat, place = path.stat(), str(path.resolve())
    name = f"{hashlib.sha256(place.encode()).hexdigest()[:32]}.json"
    return cache / "digests" / name, {"path": place, "size": stat.st_size, "modified": stat.st_mtime_ns}


def _read_entry(memory: Path, key: dict[str, object]) -> str | None:
    try:
        entry = json.loads(memory.read_text())
    except (OSError, ValueError):
        return None
    matches = isinstance(entry, dict) and all(entry.get(name) == value for name, value in key.items())
    return str(entry["sha256"]) if matches and isinstance(entry.get("sha256"), str) else None


def _write_entry(memory: Path, entry: dict[str, object]) -> None:
    with (
        suppress(OutputError),
        atomic_write(memory) as temporary,
    ):  # without the cache entry the next call computes the digest again
        temporary.write_text(json.dumps(entry))
