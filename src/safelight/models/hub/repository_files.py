"""List the files of a hub checkpoint that generation needs, and which of them are on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from safelight.errors import CheckpointMissingError, DownloadError, RequestError, SafelightError
from safelight.models.checkpoints.diffusers_layout import INDEX_NAME
from safelight.models.checkpoints.discovery import describe_checkpoint
from safelight.models.hub.checkpoint_download import find_cached
from safelight.models.hub.hub_repository import ALLOW_PATTERNS, IGNORE_PATTERNS

TIMEOUT = 20.0
"""Timeout of a request to the hub, in seconds."""


@dataclass(frozen=True)
class RepositoryFile:
    """A file of a hub repository.

    Args:
        name: Its path within the repository.
        size: Size in bytes; None if unknown.
        present: The file is on this machine.
    """

    name: str
    size: int | None
    present: bool


@dataclass(frozen=True)
class RepositoryFiles:
    """The files of a hub repository.

    Args:
        files: The known files that generation needs, sorted by name.
        present: The files on this machine are a usable checkpoint.
    """

    files: tuple[RepositoryFile, ...]
    present: bool

    @property
    def size(self) -> int | None:
        """Size of all files in bytes; None if unknown."""
        sizes = [file.size for file in self.files if file.size is not None]
        return sum(sizes) if sizes and len(sizes) == len(self.files) else None

    @property
    def is_checkpoint(self) -> bool:
        """Whether the repository holds a diffusers checkpoint, judging by its index file."""
        return any(file.name == INDEX_NAME for file in self.files)


def list_cached_files(name: str, cache: Path | None = None) -> RepositoryFiles:
    """List the files on this machine, without using the network.

    Args:
        name: The hub id.
        cache: The hub's cache folder; the library's default when None.
    """
    try:
        folder = find_cached(name, cache)
    except CheckpointMissingError:
        return RepositoryFiles((), present=False)
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    files = tuple(_file(folder / each, each) for each in _filter_names(names))
    return RepositoryFiles(files, _is_usable(folder, name))


def list_hub_files(name: str, cache: Path | None = None) -> RepositoryFiles:
    """Ask the hub for a repository's files, and mark those on this machine.

    Args:
        name: The hub id.
        cache: The hub's cache folder; the library's default when None.

    Raises:
        RequestError: The name is not a valid hub id.
        DownloadError: No connection, no such repository, or no permission.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache  # a late import: it takes a quarter of a second
    from huggingface_hub.errors import HFValidationError, HTTPError, OfflineModeIsEnabled

    try:
        found = HfApi().model_info(name, files_metadata=True, timeout=TIMEOUT)
    except HFValidationError as error:
        raise RequestError(f"{name!r} is no name of the hub.", hint="Give owner/name.") from error
    except (HTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DownloadError(f"The hub does not tell of {name}: {lines[0]}") from error
    sizes = {each.rfilename: each.size for each in found.siblings or ()}
    files = tuple(
        RepositoryFile(
            each,
            sizes[each],
            isinstance(try_to_load_from_cache(name, each, cache_dir=cache, revision=found.sha), str),
        )
        for each in _filter_names(sizes)
    )
    return RepositoryFiles(files, list_cached_files(name, cache).present)


def _filter_names(names: Iterable[str]) -> list[str]:
    from huggingface_hub.utils import filter_repo_objects

    return sorted(filter_repo_objects(names, allow_patterns=ALLOW_PATTERNS, ignore_patterns=IGNORE_PATTERNS))


def _file(path: Path, name: str) -> RepositoryFile:
    try:
        return RepositoryFile(name, path.stat().st_size, present=True)
    except OSError:  # a link to a file whose download never finished
        return RepositoryFile(name, None, present=False)


def _is_usable(folder: Path, name: str) -> bool:
    try:
        describe_checkpoint(folder, name, kind="hub")
    except SafelightError:
        return False
    return True
