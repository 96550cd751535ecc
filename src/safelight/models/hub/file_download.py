"""Download one file completely or not at all: resumed after a cut, checked against its size and digest.

The bytes go to a temporary file, with a note of the version that they belong to beside it. A later call, also of
another process, continues with a Range request; If-Range makes the server send the whole file where it has changed.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2

from safelight.errors import DigestMismatchError, DownloadError, DownloadStoppedError, OutputError
from safelight.file_locks import FileLock
from safelight.models.hub.http_source import HttpSource, TransientError
from safelight.models.inventory.staging import FREE_SPACE

CHUNK = 1024 * 1024
MIN_PROGRESS = 256 * 1024
"""Bytes of an attempt that count as progress, after which failures are counted anew."""


@dataclass(frozen=True)
class RemoteFile:
    """A file at a source.

    Args:
        name: Its path in the repository, or its name.
        url: Where it is downloaded from.
        size: Its bytes; None if the source does not say.
        size_tolerance: By how many bytes the stated size may be wrong, for sources that round it.
        sha256: Its digest, in lower case; None if the source does not say.
        git_oid: Its digest as a git blob (SHA-1), which the hub states for small files instead.
    """

    name: str
    url: str
    size: int | None
    size_tolerance: int = 0
    sha256: str | None = None
    git_oid: str | None = None


def download_file(
    source: HttpSource,
    file: RemoteFile,
    temporary: Path,
    *,
    on_progress: Callable[[int], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> str:
    """Download a file to a temporary path, continuing what is there, and check it.

    Args:
        source: The file's server.
        file: The file.
        temporary: The path; a note beside it with the suffix ``.json`` is deleted when the file is complete.
        on_progress: Called with the number of bytes that are there.
        should_stop: Whether to stop.

    Returns:
        The file's SHA-256.

    Raises:
        DownloadStoppedError: ``should_stop`` said so; what has arrived is kept.
        DownloadError: It cannot be had; what has arrived is kept.
        DigestMismatchError: It is not the file that the source describes; nothing is kept.
        OutputError: The disk is full or cannot be written; what has arrived is kept.
    """
    return _Download(source, file, temporary, on_progress, should_stop).run()


@dataclass
class _Download:
    source: HttpSource
    file: RemoteFile
    temporary: Path
    on_progress: Callable[[int], None]
    should_stop: Callable[[], bool]
    continued: bool = False
    """Whether a part of the file is from an earlier request."""

    def run(self) -> str:
        lock = FileLock(self.temporary.with_name(self.temporary.name + ".lock"))
        try:
            self.temporary.parent.mkdir(parents=True, exist_ok=True)
            if not lock.acquire("a download"):
                raise DownloadError(
                    f"{self.file.name} is being downloaded already.", hint="Wait for that one."
                )
            try:
                return self._run()
            finally:
                lock.path.unlink(missing_ok=True)
                lock.release()
        except OSError as error:
            raise OutputError(
                f"{self.temporary.parent} cannot be written: {error.strerror or error}."
            ) from error

    def _run(self) -> str:
        self._receive_all()
        try:
            digest = self._check()
        except DigestMismatchError:
            self._discard()
            if not self.continued:
                raise
            self._receive_all()  # what was there before may have been of another version
            try:
                digest = self._check()
            except DigestMismatchError:
                self._discard()
                raise
        self._note.unlink(missing_ok=True)
        return digest

    def _receive_all(self) -> None:
        failures = 0
        while True:
            before = self._offset()
            try:
                self._receive(before)
            except TransientError as error:
                failures = 1 if self._offset() - before >= MIN_PROGRESS else failures + 1
                if self.should_stop():
                    raise DownloadStoppedError from error
                self.source.wait(error, failures)
                if self.should_stop():
                    raise DownloadStoppedError from error
            else:
                return

    def _receive(self, offset: int) -> None:
        """One request for what is missing."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        validator = self._read_note().get("validator")
        if offset and validator:
            headers["If-Range"] = validator
        with self.source.open(self.file.url, headers) as response:
            if response.status_code == 416:
                if not _is_complete(response, offset):
                    self._discard()
                    raise TransientError(f"{self.source.host} has another version of the file now.")
                self.continued = True
                return
            start, total = self._start_and_total(response, offset, validator)
            self._check_size(total)
            self._check_space(start, total)
            self.continued |= start > 0
            self._write_note(response)
            self._write_body(response, start, total)

    def _start_and_total(
        self, response: httpx2.Response, offset: int, validator: str | None
    ) -> tuple[int, int | None]:
        """Where the body belongs, and the whole file's bytes; a 200 is the whole file, also where Range was sent."""
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind in ("text/html", "application/xhtml+xml"):
            raise DownloadError(
                f"{self.source.host} sends a web page instead of {self.file.name}.",
                hint="It may want a login: give a token with --token-file, and accept the model's terms on its page.",
            )
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise DownloadError(
                f"{self.source.host} sends {self.file.name} compressed, which was not asked for."
            )
        length = _whole_number(response.headers.get("Content-Length"))
        if response.status_code == 200:
            return 0, length
        start, total = _content_range(response)
        changed = validator is not None and _validator(response) not in (None, validator)
        if start != offset or changed:
            self._discard()
            raise TransientError(f"{self.source.host} sends another part of the file than was asked for.")
        return start, total

    def _check_size(self, total: int | None) -> None:
        stated = self.file.size
        if total is not None and stated is not None and abs(total - stated) > self.file.size_tolerance:
            self._discard()
            raise DigestMismatchError(f"{self.file.name} has {total} bytes, not {stated}.")

    def _check_space(self, start: int, total: int | None) -> None:
        size = total if total is not None else self.file.size
        free = shutil.disk_usage(self.temporary.parent).free
        if size is not None and size - start > free - FREE_SPACE:
            missing = (size - start - free + FREE_SPACE) / 1e6
            raise OutputError(
                f"The disk of {self.temporary.parent} has too little space for {self.file.name}: "
                f"{missing:,.0f} MB more are needed.",
                hint="Free space on it; what has arrived is kept.",
            )

    def _write_body(self, response: httpx2.Response, start: int, total: int | None) -> None:
        stated = math.inf if self.file.size is None else self.file.size + self.file.size_tolerance
        limit = stated if total is None else total
        done = start
        with self.temporary.open("r+b" if self.temporary.exists() else "wb") as out:
            out.truncate(start)
            out.seek(start)
            for block in response.iter_raw():
                done += len(block)
                if done > limit:
                    break
                out.write(block)
                self.on_progress(done)
                if self.should_stop():
                    raise DownloadStoppedError
        if done > limit:
            self._discard()
            raise DigestMismatchError(f"{self.file.name} has more than {limit:.0f} bytes.")
        if total is not None and done < total:
            raise TransientError(f"{self.source.host} broke off after {done} of {total} bytes.")

    def _check(self) -> str:
        """The file's SHA-256.

        Raises:
            DigestMismatchError: It differs from the stated one, or the size does.
        """
        size = self.temporary.stat().st_size
        self._check_size(size)
        digest = hashlib.sha256()
        with self.temporary.open("rb") as file:
            while block := file.read(CHUNK):
                digest.update(block)
                if self.should_stop():
                    raise DownloadStoppedError
        found = digest.hexdigest()
        if self.file.sha256 is not None and found != self.file.sha256:
            raise DigestMismatchError(f"{self.file.name} has SHA-256 {found}, not {self.file.sha256}.")
        stated = self.file.git_oid if self.file.sha256 is None else None
        if stated is not None and git_blob_digest(self.temporary) != stated:
            raise DigestMismatchError(f"{self.file.name} is not the file that {self.source.host} describes.")
        return found

    def _offset(self) -> int:
        """How many bytes are there of the file that the note is about."""
        if self._read_note().get("file") != self._identity:
            return 0
        try:
            return self.temporary.stat().st_size
        except OSError:
            return 0

    @property
    def _identity(self) -> str:
        """What must be equal for bytes to belong to the same file."""
        return self.file.sha256 or self.file.git_oid or self.file.url

    @property
    def _note(self) -> Path:
        return self.temporary.with_name(self.temporary.name + ".json")

    def _read_note(self) -> dict[str, str]:
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {str(name): str(value) for name, value in note.items()} if isinstance(note, dict) else {}

    def _write_note(self, response: httpx2.Response) -> None:
        note = {"file": self._identity}
        if validator := _validator(response):
            note["validator"] = validator
        self._note.write_text(json.dumps(note), encoding="utf-8")

    def _discard(self) -> None:
        with suppress(OSError):
            self.temporary.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)


def git_blob_digest(path: Path) -> str:
    """A file's digest as git has it (SHA-1 over a header and the bytes).

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _validator(response: httpx2.Response) -> str | None:
    """What identifies the version of a response in If-Range: a strong ETag."""
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else None


def _content_range(response: httpx2.Response) -> tuple[int, int | None]:
    """The first byte of a partial response and the whole file's size; -1 where the header is not understood."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    start = _whole_number(span.partition("-")[0])
    return (-1 if unit != "bytes" or start is None else start), _whole_number(total)


def _is_complete(response: httpx2.Response, offset: int) -> bool:
    """Whether a 416 says that there is nothing after the offset."""
    return _whole_number(response.headers.get("Content-Range", "").rpartition("/")[2]) == offset


def _whole_number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None
