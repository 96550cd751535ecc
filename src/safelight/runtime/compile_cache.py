"""Compiled forms of networks on disk: shared by processes, checked when they are read, pruned by size.

A form is a folder with the engine's files and ``form.json``: what it was made from, its files with their digests, and
the structure of its results. A folder is written under another name and renamed, so it is whole or not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from uuid import uuid4

from safelight.atomic_write import sha256_of
from safelight.errors import BackendError
from safelight.file_locks import FileLock
from safelight.logs import get_logger
from safelight.runtime.machine import package_version

ABANDONED_AFTER = 86_400
"""Seconds after which an unfinished form is deleted: nobody is making it any more."""
REFUSED_FOR = 7 * 86_400
"""Seconds for which it is remembered that a form could not be made; what was wrong may be mended by then."""
LAYOUT = 1
"""Counted up when forms are made in another way: older ones are not found any more, and are pruned in time."""
_FORM = "form.json"
_REFUSALS = ".refused"
_LIBRARIES = ("torch", "diffusers", "transformers")
"""The libraries whose code is traced; the engine's own comes in addition."""

_log = get_logger(__name__)


@dataclass(frozen=True)
class FormKey:
    """What a compiled form is made from.

    Args:
        digest: That of the network's weights and configuration (``ComponentKey.digest``).
        dtype: The precision of the weights.
        patches: The identities of the patches in effect.
        signature: The method, and the structure of its arguments with the tensors' shapes (``NetworkCall.signature``).
        backend: The engine.
        package: The distribution whose version counts.
        machine: The kind of processor or accelerator, for machine code; empty for files that any machine can use.
    """

    digest: str
    dtype: str
    patches: tuple[str, ...]
    signature: str
    backend: str
    package: str
    machine: str = ""

    @property
    def facts(self) -> dict[str, Any]:
        """All that identifies it, versions of libraries included, as JSON."""
        versions = {name: package_version(name) for name in (*_LIBRARIES, self.package)}
        fields: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return fields | {"layout": LAYOUT, "versions": versions}

    @property
    def name(self) -> str:
        """The name of its folder."""
        return hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()[:40]


@dataclass(frozen=True)
class StoredForm:
    """A form on disk.

    Args:
        folder: Its folder.
        result: The structure of its results (``runtime.compilation.values``).
        notes: What else was written with it, such as measured times.
    """

    folder: Path
    result: Any
    notes: dict[str, Any]

    @property
    def nbytes(self) -> int:
        """Bytes of its files."""
        return _folder_bytes(self.folder)

    @property
    def speedup(self) -> float:
        """How many times as fast as the eager network it was when it was made."""
        return float(self.notes["eager_seconds"] / self.notes["form_seconds"])


class CompileCache:
    """The compiled forms in a folder. Thread-safe, and safe among processes.

    Args:
        folder: The folder.
        limit: Bytes that all forms may take; the least recently used ones are deleted beyond it.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit

    def find(self, key: FormKey) -> StoredForm | None:
        """A form, if it is there and undamaged; a damaged one is deleted.

        A file's digest is computed only if its size or its modification time is not what was written.
        """
        folder = self.folder / key.name
        try:
            about = json.loads((folder / _FORM).read_text(encoding="utf-8"))
            _check_equal(about["key"], key.facts)
            for name, written in about["files"].items():
                _check_file(folder / name, written)
            form = StoredForm(folder, about["result"], dict(about["notes"]))
        except FileNotFoundError:
            if folder.exists():
                self._delete_damaged(folder, "a file is missing")
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._delete_damaged(folder, str(error))
            return None
        with suppress(OSError):
            os.utime(folder / _FORM)  # when it was last used
        return form

    def write(
        self, key: FormKey, make: Callable[[Path], tuple[Any, dict[str, Any]]], timeout: float = 3600
    ) -> StoredForm:
        """The form of a key, made unless it is there: if two processes ask for it, one makes it and the other waits.

        Args:
            key: The key.
            make: Writes the engine's files to an empty folder; returns the structure of the results, and notes.
            timeout: Seconds to wait for another process.

        Raises:
            BackendError: The folder cannot be written.
            Exception: Whatever ``make`` raises.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked(key, timeout):
                if (found := self.find(key)) is not None:
                    return found
                self._make(key, make)
                self._refusal_path(key).unlink(missing_ok=True)
        except OSError as error:
            raise BackendError(f"{self.folder} cannot be written: {error.strerror or error}.") from error
        self.prune(keep=key.name)
        found = self.find(key)
        if found is None:
            raise BackendError(f"The compiled form in {self.folder / key.name} was deleted as it was made.")
        return found

    def refuse(self, key: FormKey, about: str, reason: str) -> None:
        """Remember that a form cannot be made: by all processes, for some days or until a library is another version.

        Args:
            key: The form.
            about: What it was to compute, for messages.
            reason: Why it cannot be made.
        """
        path = self._refusal_path(key)
        with suppress(OSError):  # else it is tried again
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"about": about, "reason": reason}), encoding="utf-8")

    def refusal(self, key: FormKey) -> str:
        """Why a form cannot be made; empty if that is not known."""
        return _read_refusal(self._refusal_path(key)).get("reason", "")

    @property
    def refusals(self) -> dict[str, str]:
        """What cannot be made, and why."""
        found = map(_read_refusal, sorted((self.folder / _REFUSALS).glob("*.json")))
        return {each["about"]: each["reason"] for each in found if each}

    def recent(self, digest: str, dtype: str) -> list[FormKey]:
        """The forms of a network, the most recently used first."""
        found = []
        for folder in self._folders():
            with suppress(OSError, ValueError, KeyError, TypeError):
                about = folder / _FORM
                facts = json.loads(about.read_text(encoding="utf-8"))["key"]
                names = [field.name for field in fields(FormKey)]
                key = FormKey(**{name: facts[name] for name in names} | {"patches": tuple(facts["patches"])})
                if (key.digest, key.dtype, key.name) == (digest, dtype, folder.name):
                    found.append((about.stat().st_mtime, key))
        return [key for _, key in sorted(found, key=lambda item: -item[0])]

    def delete(self, key: FormKey) -> None:
        """Delete a form that could not be used."""
        shutil.rmtree(self.folder / key.name, ignore_errors=True)

    def prune(self, keep: str = "") -> None:
        """Delete the least recently used forms, except one, until the others fit the limit.

        Also what a process that was ended left behind.
        """
        for temporary in self.folder.glob(".*.tmp"):
            with suppress(OSError):
                if time.time() - temporary.stat().st_mtime > ABANDONED_AFTER:
                    shutil.rmtree(temporary, ignore_errors=True)
        for refusal in (self.folder / _REFUSALS).glob("*.json"):
            if not _read_refusal(refusal):
                refusal.unlink(missing_ok=True)
        forms = []
        for folder in self._folders():
            try:
                forms.append(((folder / _FORM).stat().st_mtime, _folder_bytes(folder), folder))
            except OSError:
                continue  # another process deletes it, or is writing it
        total = sum(size for _, size, _ in forms)
        for _, size, folder in sorted(forms):
            if total <= self.limit:
                break
            if folder.name != keep:
                shutil.rmtree(folder, ignore_errors=True)
                total -= size

    @property
    def nbytes(self) -> int:
        """Bytes of all forms."""
        return sum(_folder_bytes(folder) for folder in self._folders())

    @property
    def count(self) -> int:
        """The number of forms."""
        return sum(1 for _ in self._folders())

    def _folders(self) -> Iterator[Path]:
        with suppress(OSError):
            for folder in self.folder.iterdir():
                if folder.is_dir() and not folder.name.startswith("."):
                    yield folder

    def _refusal_path(self, key: FormKey) -> Path:
        return self.folder / _REFUSALS / f"{key.name}.json"

    def _make(self, key: FormKey, make: Callable[[Path], tuple[Any, dict[str, Any]]]) -> None:
        temporary = self.folder / f".{key.name}.{uuid4().hex}.tmp"
        temporary.mkdir()
        try:
            result, notes = make(temporary)
            files = {path.name: _describe_file(path) for path in sorted(temporary.iterdir())}
            about = {"key": key.facts, "files": files, "result": result, "notes": notes}
            (temporary / _FORM).write_text(json.dumps(about), encoding="utf-8")
            shutil.rmtree(self.folder / key.name, ignore_errors=True)  # a damaged one
            temporary.rename(self.folder / key.name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @contextmanager
    def _locked(self, key: FormKey, timeout: float) -> Iterator[None]:
        lock = FileLock(self.folder / f".{key.name}.lock")
        if not lock.acquire(f"process {os.getpid()}", timeout):
            raise BackendError(f"{lock.holder()} has been compiling the same network for {timeout:.0f} s.")
        try:
            yield
        finally:
            lock.release()

    def _delete_damaged(self, folder: Path, reason: str) -> None:
        _log.warning("the compiled form %s is damaged (%s) and will be made again", folder.name, reason)
        shutil.rmtree(folder, ignore_errors=True)


def _describe_file(path: Path) -> dict[str, Any]:
    """Size, time and digest of a file, which is on the disk afterwards."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    found = path.stat()
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns, "sha256": sha256_of(path)}


def _check_equal(found: object, wanted: object) -> None:
    """Raise ValueError for a form that was made from something else."""
    if found != wanted:
        raise ValueError("it is another form")


def _check_file(path: Path, written: dict[str, Any]) -> None:
    """Raise ValueError for a file that is not what was written."""
    found = path.stat()
    if found.st_size != written["size"]:
        raise ValueError(f"{path.name} has {found.st_size} bytes instead of {written['size']}")
    if found.st_mtime_ns != written["mtime_ns"] and sha256_of(path) != written["sha256"]:
        raise ValueError(f"{path.name} was changed")


def _read_refusal(path: Path) -> dict[str, str]:
    """What was refused and why; empty if nothing was, or too long ago."""
    try:
        if time.time() - path.stat().st_mtime > REFUSED_FOR:
            return {}
        found = json.loads(path.read_text(encoding="utf-8"))
        return {name: str(found[name]) for name in ("about", "reason")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _folder_bytes(folder: Path) -> int:
    with suppress(OSError):
        return sum(path.stat().st_size for path in folder.iterdir())
    return 0
