"""The store of pulled classifiers: one folder each, with a record of its origin."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from safelight.atomic_write import path_exists, sha256_of
from safelight.errors import (
    ClassifierUnknownError,
    DigestMismatchError,
    ModelInvalidError,
    ModelNotPulledError,
    OutputError,
)
from safelight.file_permissions import create_private_folder

_RECORD = "safelight.json"


@dataclass(frozen=True)
class ModelSource:
    """Where a model is downloaded from.

    Args:
        repository: The hub id, "owner/name".
        revision: The commit to download; None for the newest.
        files: SHA-256 by file name; an empty digest is not checked.
    """

    repository: str
    revision: str | None
    files: dict[str, str]


@dataclass(frozen=True)
class ModelRecord:
    """The record of a pulled model.

    Args:
        name: The name that settings and requests use.
        repository: The hub id it was downloaded from.
        revision: The commit that was downloaded.
        files: SHA-256 by file name.
        size: Total size in bytes.
        pulled: Time of the download, in ISO 8601 and UTC.
    """

    name: str
    repository: str
    revision: str
    files: dict[str, str]
    size: int
    pulled: str

    def to_dict(self) -> dict[str, object]:
        """The record for JSON output."""
        return asdict(self)


PINNED_SOURCES = MappingProxyType(
    {
        "nsfw-image-detection-384": ModelSource(
            "Marqo/nsfw-image-detection-384",
            "0c26ec22111b83f106d72a55f611ec35962bcb65",
            {
                "config.json": "ae848d1dca0aeccd38f2ebb4b1bb47219cdc7f34e3ddc50c8d6430abe74d79b4",
                "model.safetensors": "6bf2e0f64a1d20169736c2836e3a787b12379fdc08ba87f7d94a7a3d58eeefce",
            },
        )
    }
)
"""Models with a short name, at a pinned commit. All files are pinned, the configuration too, since it states which
output is the unsafe label."""

DownloadFunction = Callable[[ModelSource, Path], str]
"""Downloads a source's files into a folder and returns their commit."""


@dataclass(frozen=True)
class ClassifierStore:
    """The folder of pulled models.

    Args:
        root: The folder; created by the first pull.
    """

    root: Path

    def records(self) -> list[ModelRecord]:
        """All models, sorted by name; folders without a readable record are skipped."""
        return sorted(self._read_all(), key=lambda record: record.name)

    def has(self, name: str) -> bool:
        """Whether the model was pulled."""
        return self._is_safe_name(name) and path_exists(self._path(name) / _RECORD)

    def record(self, name: str) -> ModelRecord:
        """Return a model's record.

        Raises:
            ModelNotPulledError: The model was not pulled.
            ModelInvalidError: Its record cannot be read.
        """
        return _read_record(self.folder(name) / _RECORD)

    def folder(self, name: str) -> Path:
        """Return a pulled model's folder.

        Raises:
            ModelNotPulledError: The model was not pulled; the hint is the command to pull it.
        """
        if not self.has(name):
            raise ModelNotPulledError(
                f"The model {name!r} is not on this machine, and nothing is fetched unless you ask.",
                hint=f"Fetch it once with: safelight models pull {name}",
            )
        return self._path(name)

    def pull(self, name: str, download: DownloadFunction) -> ModelRecord:
        """Download a model into a temporary folder, check it, and move it to its place.

        Raises:
            ClassifierUnknownError: The name is neither a built-in one nor a hub id.
            DigestMismatchError: A file differs from the pinned one.
            OutputError: The store cannot be written.
        """
        source = _find_source(name)
        try:
            create_private_folder(self.root)
            with tempfile.TemporaryDirectory(dir=self.root, prefix=".pulling-") as temporary:
                staging = Path(temporary) / "model"
                staging.mkdir()
                revision = download(source, staging)
                record = _make_record(name, source, revision, staging)
                (staging / _RECORD).write_text(json.dumps(record.to_dict(), indent=1))
                self._replace(name, staging)
        except OSError as error:
            raise OutputError(f"{self.root} cannot be written: {error.strerror or error}.") from error
        return record

    def remove(self, name: str) -> ModelRecord | None:
        """Delete a pulled model and return its record; None if the record could not be read.

        Raises:
            ModelNotPulledError: The model was not pulled.
        """
        folder = self.folder(name)
        try:
            record = self.record(name)
        except ModelInvalidError:
            record = None  # damaged: all the more reason to be able to remove it
        shutil.rmtree(folder)
        return record

    def _replace(self, name: str, staging: Path) -> None:
        shutil.rmtree(self._path(name), ignore_errors=True)
        staging.rename(self._path(name))

    def _path(self, name: str) -> Path:
        return self.root / name.replace("/", "--")

    @staticmethod
    def _is_safe_name(name: str) -> bool:
        """Whether a name can only refer to one model inside the store."""
        parts = name.split("/")
        inside = len(parts) <= 2 and all(part and not part.startswith(".") for part in parts)
        return inside and "\\" not in name and "--" not in name

    def _read_all(self) -> Iterator[ModelRecord]:
        for path in self.root.glob(f"*/{_RECORD}"):
            try:
                yield _read_record(path)
            except ModelInvalidError:
                continue


def expected_digests(folder: Path) -> dict[str, str]:
    """The expected SHA-256 by file name of a pulled model: the digests at its pull, and the pinned ones.

    Args:
        folder: A model's folder; a model that was not pulled has no record and no expected digests.

    Raises:
        ModelInvalidError: Its record cannot be read.
    """
    path = folder / _RECORD
    if not path_exists(path):
        return {}
    record = _read_record(path)
    return record.files | (dict(PINNED_SOURCES[record.name].files) if record.name in PINNED_SOURCES else {})


def _find_source(name: str) -> ModelSource:
    if name in PINNED_SOURCES:
        return PINNED_SOURCES[name]
    if name.count("/") == 1 and ClassifierStore._is_safe_name(name):
        return ModelSource(name, None, {"config.json": "", "model.safetensors": ""})
    raise ClassifierUnknownError(
        f"{name!r} cannot be pulled.", hint=f"Give {', '.join(PINNED_SOURCES)}, or a hub id like owner/name."
    )


def _make_record(name: str, source: ModelSource, revision: str, folder: Path) -> ModelRecord:
    digests = {file: sha256_of(folder / file) for file in source.files}
    for file, expected in source.files.items():
        if expected and digests[file] != expected:
            raise DigestMismatchError(
                f"{file} of {source.repository} has SHA-256 {digests[file]}, not {expected}."
            )
    return ModelRecord(
        name=name,
        repository=source.repository,
        revision=revision,
        files=digests,
        size=sum((folder / file).stat().st_size for file in source.files),
        pulled=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _read_record(path: Path) -> ModelRecord:
    try:
        record = ModelRecord(**json.loads(path.read_text()))
        files = {str(file): str(digest) for file, digest in dict(record.files).items()}
    except (OSError, ValueError, TypeError) as error:
        raise ModelInvalidError(f"The record of {path.parent.name} cannot be read: {error}.") from error
    return replace(record, files=files)
