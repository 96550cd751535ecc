"""The adapters on this machine in short. What was read of a file is kept on the disk until the file changes.

To read the headers of thousands of files takes many seconds, and nothing in them changes. Nothing here imports torch.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from safelight.atomic_write import atomic_write
from safelight.errors import AdapterMissingError, OutputError, SafelightError
from safelight.models.adapters.adapter_names import AdapterKind, NamedAdapter, files_of_weights
from safelight.models.adapters.description import describe_adapter
from safelight.models.checkpoints.safetensors_header import PICKLE_SUFFIXES, read_header
from safelight.models.digests import cached_digest
from safelight.models.inventory.weights_file import describe_weights_file

_FORMAT = 1
"""The format of the stored file; one of another format is not read."""


@dataclass(frozen=True)
class AdapterSummary:
    """What a file of an adapter is.

    Args:
        kind: LoRA or embedding.
        alias: The name that its trainer gave it; "" for none.
        family: The family that it is for; "" where its file does not say.
        types: How it changes layers.
        rank: Its largest rank, or number of vectors.
        trigger_words: Words that its makers trained it to react to.
    """

    kind: AdapterKind
    alias: str
    family: str
    types: tuple[str, ...]
    rank: int | None
    trigger_words: tuple[str, ...]


@dataclass(frozen=True)
class CataloguedAdapter:
    """An adapter by its names, with what its file is.

    Args:
        named: Its names and its file.
        summary: What its file is.
        size: Bytes.
        modified: When its file was changed, in nanoseconds since 1970.
    """

    named: NamedAdapter
    summary: AdapterSummary
    size: int
    modified: int


@dataclass(frozen=True)
class _Row:
    """What was read of a file at a version of it; no summary: it is no adapter."""

    version: tuple[int, int, int]  # size, and the times of the file and of the notes beside it, 0 for none
    summary: AdapterSummary | None


@dataclass(frozen=True)
class _Stored:
    format: int
    files: dict[str, _Row]


_STORED = TypeAdapter(_Stored)


class AdapterCatalogue:
    """The adapters of some folders. Threads may share it, and several processes the stored file.

    Args:
        cache: The cache folder, in which ``adapters.json`` is kept, and which has the digests of files.
    """

    def __init__(self, cache: Path) -> None:
        self._cache, self._file = cache, cache / "adapters.json"
        self._lock = threading.Lock()
        self._rows: dict[str, _Row] | None = None
        self._listed: dict[tuple[str, str], CataloguedAdapter] = {}
        self._digests: dict[Path, tuple[int, int, str]] = {}

    def list(self, folders: Sequence[Path]) -> tuple[CataloguedAdapter, ...]:
        """The adapters in folders, in the folders' order; files that cannot be read are left out.

        Of several with one kind and place the first counts, which is what a request means by it.

        Args:
            folders: The folders with weights, as ``inventory.kind_folders.weights_folders`` gives them.
        """
        with self._lock:
            known = self._read_stored() if self._rows is None else self._rows
            rows: dict[str, _Row] = {}
            found: dict[tuple[str, str], CataloguedAdapter] = {}
            for named in files_of_weights(folders):
                if named.path.suffix.lower() in PICKLE_SUFFIXES:
                    continue
                key = str(named.path)
                try:
                    version = _version(named.path)
                except OSError:  # deleted meanwhile
                    continue
                row = known.get(key)
                if row is None or row.version != version:
                    row = _Row(version, _summarize(named.path))
                rows[key] = row
                if row.summary is not None:
                    whole = NamedAdapter(named.path, named.name, named.place, row.summary.alias)
                    adapter = CataloguedAdapter(whole, row.summary, version[0], version[1])
                    found.setdefault((row.summary.kind, named.place), adapter)
            if rows != known:
                self._store(rows)
            self._rows, self._listed = rows, found
            return tuple(found.values())

    def get(self, kind: str, place: str, folders: Sequence[Path]) -> CataloguedAdapter:
        """The adapter of a kind at a place below one of the folders. No path is made of what is given.

        Raises:
            AdapterMissingError: There is none.
        """
        found = self._listed.get((kind, place))
        if found is None or not any(found.named.path.is_relative_to(each) for each in folders):
            self.list(folders)
            found = self._listed.get((kind, place))
        if found is None:
            raise AdapterMissingError("There is no adapter of this kind and place.", field="")
        return found

    def digest(self, adapter: CataloguedAdapter) -> str | None:
        """The SHA-256 of an adapter's file; None if it is not known yet."""
        path, version = adapter.named.path, (adapter.size, adapter.modified)
        known = self._digests.get(path)
        if known is not None and known[:2] == version:
            return known[2]
        digest = cached_digest(path, self._cache)
        if digest is not None:
            self._digests[path] = (*version, digest)
        return digest

    def _read_stored(self) -> dict[str, _Row]:
        """What is stored; nothing where it cannot be read."""
        try:
            stored = _STORED.validate_json(self._file.read_bytes())
        except (OSError, ValueError):
            return {}
        return stored.files if stored.format == _FORMAT else {}

    def _store(self, rows: dict[str, _Row]) -> None:
        with suppress(OutputError), atomic_write(self._file) as temporary:  # without it, files are read again
            temporary.write_bytes(_STORED.dump_json(_Stored(_FORMAT, rows)))


def _version(path: Path) -> tuple[int, int, int]:
    """What changes when a file or the notes beside it do.

    Raises:
        OSError: The file is not there.
    """
    stat = path.stat()
    notes = 0
    with suppress(OSError):
        notes = path.with_suffix(".json").stat().st_mtime_ns
    return stat.st_size, stat.st_mtime_ns, notes


def _summarize(path: Path) -> AdapterSummary | None:
    """What a file is; None if it is no adapter or cannot be read."""
    try:
        file, description = describe_weights_file(path), describe_adapter(read_header(path))
    except SafelightError:
        return None
    kind = file.found.kind
    if kind not in ("LoRA", "embedding"):
        return None
    alias = file.metadata.get("ss_output_name", "")
    return AdapterSummary(
        kind, alias, file.found.family or "", description.kinds, description.rank, file.trigger_words
    )
