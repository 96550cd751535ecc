"""A scan's journal: one JSON line for each image, appended as soon as it is classified, and safe against kills.

The journal is ``REPORT.partial`` beside the report. Its first line names the classifier and the policy. A line is
valid only if it ends in a newline; an incomplete last line is truncated when the scan resumes.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

from safelight.errors import OutputError, ResumeMismatchError, SafelightError, ScanBusyError

if sys.platform != "win32":
    import fcntl

Row = dict[str, Any]


class Journal:
    """An append-only file of JSON lines, open for writing.

    Args:
        path: The journal's file.
        header: The classifier, policy and options of the whole scan.
        resume: Continue an existing journal; otherwise it is overwritten.
        on_earlier_row: Called with every existing row.

    Raises:
        ResumeMismatchError: The existing journal has another header.
        ScanBusyError: Another process is writing it.
        OutputError: It cannot be written.
    """

    def __init__(
        self, path: Path, header: Row, *, resume: bool, on_earlier_row: Callable[[Row], None] = lambda _: None
    ) -> None:
        self.path = path
        self._on_earlier_row = on_earlier_row
        self._keys: set[bytes] = set()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: after a failed write, closing the file must not try to write again.
            self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        except OSError as error:
            raise self._write_error(error) from error
        try:
            self._lock()
            self._truncate(self._read_existing(header) if resume else 0, header)
        except OSError as error:
            self._file.close()
            raise self._write_error(error) from error
        except SafelightError:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """Return how many images an earlier run had classified."""
        return len(self._keys)

    def contains(self, path: str) -> bool:
        """Whether an earlier run classified an image."""
        return _path_key(path) in self._keys

    def append(self, rows: Iterable[Row]) -> None:
        """Write rows in one call, without buffering.

        Raises:
            OutputError: The disk is full, or the file is gone.
        """
        try:
            self._write(b"".join(_format_row(row) for row in rows))
        except OSError as error:
            raise self._write_error(error) from error

    def close(self) -> None:
        """Synchronize the file to the disk and close it."""
        if not self._file.closed:
            with suppress(OSError):  # not every kind of file can be synchronized
                os.fsync(self._file.fileno())
            self._file.close()

    def _lock(self) -> None:
        """Lock the file, so that no two scans write one report. The lock ends with the process, however that ends."""
        if sys.platform != "win32":  # there is no lock on Windows
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ScanBusyError(f"Another scan is writing {self.path}.") from None

    def _truncate(self, complete_bytes: int, header: Row) -> None:
        """Truncate the file after ``complete_bytes`` bytes of complete lines, and write the header if it is empty."""
        if os.fstat(self._file.fileno()).st_size > complete_bytes:
            self._file.truncate(complete_bytes)
        self._file.seek(complete_bytes)
        if not complete_bytes:
            self._write(_format_row(header))

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]

    def _read_existing(self, header: Row) -> int:
        """Read the rows and return the number of bytes in complete lines; 0 if even the header is incomplete."""
        with self.path.open("rb") as file:
            first = file.readline()
            if not first.endswith(b"\n"):  # killed while writing the header
                return 0
            try:
                _check_header(self.path, json.loads(first), header)
                return len(first) + self._read_lines(file)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise ResumeMismatchError(f"{self.path} is not the journal of a scan.") from error

    def _read_lines(self, file: BinaryIO) -> int:
        whole = 0
        for line in file:
            if not line.endswith(b"\n"):
                break
            row = json.loads(line)
            self._keys.add(_path_key(row["path"]))
            self._on_earlier_row(row)
            whole += len(line)
        return whole

    def _write_error(self, error: OSError) -> OutputError:
        return OutputError(f"{self.path} cannot be written: {error.strerror or error}.")


def _check_header(path: Path, earlier: Row, header: Row) -> None:
    if earlier == header:
        return
    differing = sorted(key for key in earlier.keys() | header.keys() if earlier.get(key) != header.get(key))
    raise ResumeMismatchError(
        f"{path} was begun with another classifier, policy or option.",
        hint=f"It differs in {', '.join(differing)}. Use the same as before, or start over with --overwrite.",
    )


def read_rows(path: Path) -> Iterator[Row]:
    """Yield a journal's rows, without its header."""
    with path.open("rb") as file:
        file.readline()
        for line in file:
            yield json.loads(line)


def _format_row(row: Row) -> bytes:
    """Format a row as one ASCII line: file names may contain bytes that are not text and must round-trip."""
    return json.dumps(row).encode("ascii") + b"\n"


def _path_key(path: str) -> bytes:
    """Return a path's hash of twelve bytes: millions fit in memory, and collisions are practically impossible."""
    return hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=12).digest()
