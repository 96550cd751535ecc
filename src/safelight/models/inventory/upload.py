"""Take a file of weights that arrives in pieces: it lies where its kind belongs when it is complete, or nowhere."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from safelight.atomic_write import path_exists
from safelight.errors import BodyTooLargeError, CheckpointInvalidError, OutputError, OutputExistsError
from safelight.models.checkpoints.safetensors_header import (
    check_not_pickle_bytes,
    check_not_pickle_name,
    read_header,
)
from safelight.models.digests import remember_digest
from safelight.models.inventory.file_kinds import identify
from safelight.models.inventory.kind_folders import KIND_FOLDERS
from safelight.models.inventory.staging import (
    FREE_SPACE,
    STAGING,
    delete_abandoned,
    move_file,
    remove_if_empty,
)
from safelight.settings import Settings

SUFFIXES = (".safetensors", ".gguf")
MAX_NAME = 200
"""Maximum characters of a name, as file systems limit its bytes."""
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
_START = 9
"""The bytes from which a pickle is recognized."""


def check_upload(name: str, size: int | None, settings: Settings) -> None:
    """Refuse what would be refused at its end for its name or its size, before anything is sent.

    Args:
        name: The file's name.
        size: Its bytes, if known.
        settings: The data directory, and ``max_upload_bytes``.

    Raises:
        PickleRefusedError: It is a pickle, by its name.
        CheckpointInvalidError: It has another suffix than ``SUFFIXES``, or is empty.
        OutputError: The name cannot be a file's, or the disk has too little space.
        OutputExistsError: There is a file of that name.
        BodyTooLargeError: It is larger than the limit.
    """
    path = Path(name)
    check_not_pickle_name(path)
    if path.suffix.lower() not in SUFFIXES:
        raise CheckpointInvalidError(
            f"{name} is no .safetensors or .gguf file.", hint="Give a file of one of these formats."
        )
    if _UNSAFE.search(name) or name.startswith(".") or len(name) > MAX_NAME or path.stem.strip() != path.stem:
        raise OutputError(f"A file cannot be called {name!r} here.", hint="Rename it.")
    for folder in dict.fromkeys(KIND_FOLDERS.values()):
        if path_exists(settings.home / folder / name):
            raise OutputExistsError(
                f"{folder}/{name} is there already.",
                hint="Rename one of them, or delete the other with: safelight models remove NAME",
            )
    if size is not None:
        _check_size(name, size, settings)


def _check_size(name: str, size: int, settings: Settings) -> None:
    if size == 0:
        raise CheckpointInvalidError(f"{name} is empty.", hint="Give a complete file.")
    if size > settings.max_upload_bytes:
        raise BodyTooLargeError(
            f"{name} has {size} bytes, and the limit is {settings.max_upload_bytes}.",
            hint="Raise the setting max_upload_bytes.",
        )
    free = shutil.disk_usage(settings.home).free - FREE_SPACE
    if size > free:
        raise OutputError(
            f"The disk of {settings.home} has too little space for {name}: {(size - free) / 1e6:,.0f} MB more are "
            "needed.",
            hint="Free space on it.",
        )


class Upload:
    """A file that is arriving, from ``open_upload``.

    Args:
        name: Its name.
        temporary: Where it arrives.
        settings: The data directory, and ``max_upload_bytes``.
    """

    def __init__(self, name: str, temporary: Path, settings: Settings) -> None:
        self._name, self._temporary, self._settings = name, temporary, settings
        self._digest = hashlib.sha256()
        self._file = temporary.open("xb")
        self._size = 0

    def write(self, data: bytes) -> None:
        """Add the next bytes; the first call must have nine at least.

        Raises:
            PickleRefusedError: It is a pickle, by its content.
            BodyTooLargeError, OutputError: It is too large, or cannot be written.
        """
        if self._size == 0:
            check_not_pickle_bytes(Path(self._name), data[:_START])
        self._size += len(data)
        if self._size > self._settings.max_upload_bytes:
            _check_size(self._name, self._size, self._settings)
        try:
            self._file.write(data)
        except OSError as error:
            raise OutputError(f"{self._name} cannot be written: {error.strerror or error}.") from error
        self._digest.update(data)

    def finish(self) -> Path:
        """Check the complete file, and move it to the folder of its kind; returns its path.

        Raises:
            CheckpointInvalidError: It is damaged or incomplete, or nothing that has a folder.
            OutputExistsError: A file of that name has appeared meanwhile.
            OutputError: It cannot be written.
        """
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            folder = self._folder()
            target = self._settings.home / folder / self._name
            self._move(target)
        except OSError as error:
            raise OutputError(f"{self._name} cannot be written: {error.strerror or error}.") from error
        remember_digest(target, self._digest.hexdigest(), self._settings.cache_folder)
        return target

    def _move(self, target: Path) -> None:
        """Give the file its place, unless another has it."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if not path_exists(target):
            try:
                os.link(self._temporary, target)  # which replaces nothing
            except FileExistsError:
                pass
            except OSError:  # another disk, or one without links
                move_file(self._temporary, target)
                return
            else:
                return
        raise OutputExistsError(
            f"{target.parent.name}/{self._name} is there already.", hint="Rename one of them."
        )

    def _folder(self) -> str:
        if self._size < _START:
            raise CheckpointInvalidError(f"{self._name} is damaged: it has {self._size} bytes.")
        try:
            kind = identify(read_header(self._temporary)).kind
        except CheckpointInvalidError as error:  # of the name under which it arrived
            raise CheckpointInvalidError(
                error.message.replace(str(self._temporary), self._name),
                hint="Give a complete file.",
                context={"reason": "incomplete"},
            ) from error
        folder = KIND_FOLDERS.get(kind)
        if folder is not None:
            return folder
        if kind == "classifier":
            raise CheckpointInvalidError(
                f"{self._name} is a classifier, which needs its configuration too.",
                hint="Download it with: safelight models pull OWNER/NAME",
                context={"reason": "classifier"},
            )
        raise CheckpointInvalidError(
            f"What {self._name} is cannot be told from its content.",
            hint="It is none of the kinds of weights that Safelight knows.",
            context={"reason": "unknown_kind"},
        )

    def close(self) -> None:
        """Remove what has no place."""
        self._file.close()
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)
        remove_if_empty(self._temporary.parent)


@contextmanager
def open_upload(name: str, size: int | None, settings: Settings) -> Iterator[Upload]:
    """Take a file; unless ``Upload.finish`` succeeds, nothing of it is left.

    Raises:
        SafelightError: As in ``check_upload``.
        OutputError: The data directory cannot be written.
    """
    check_upload(name, size, settings)
    staging = settings.home / KIND_FOLDERS["checkpoint"] / STAGING
    try:
        staging.mkdir(parents=True, exist_ok=True)
        delete_abandoned(staging)
        upload = Upload(name, staging / f"{uuid4().hex}-{name}", settings)
    except OSError as error:
        raise OutputError(f"{staging} cannot be written: {error.strerror or error}.") from error
    try:
        yield upload
    finally:
        upload.close()
