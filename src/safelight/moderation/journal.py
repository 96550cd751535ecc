"""A scan's journal: one JSON line for each picture, appended as it is judged, that a kill cannot spoil.

The journal lies beside the report as ``REPORT.partial``. Its first line says which classifier and policy judge.
A line counts once it ends in a newline; a half-written last one is cut off when the scan resumes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Self

from safelight.errors import OutputError, ResumeMismatchError

Row = dict[str, Any]


class Journal:
    """An append-only file of JSON lines, open for writing.

    Args:
        path: Where it lies.
        header: What the whole run has in common.
        resume: Go on with a journal that is there; otherwise start anew.

    Raises:
        ResumeMismatchError: The journal that is there was begun with another header.
        OutputError: It cannot be written.
    """

    def __init__(self, path: Path, header: Row, *, resume: bool) -> None:
        self.path = path
        self._done: set[bytes] = set()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._reopen(header) if resume and path.exists() else self._start(header)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """How many pictures an earlier run had judged."""
        return len(self._done)

    def has(self, path: str) -> bool:
        """Whether an earlier run judged a picture."""
        return _key(path) in self._done

    def append(self, rows: Iterable[Row]) -> None:
        """Write lines, all at once, and hand them to the operating system.

        Raises:
            OutputError: The disk is full, or the file is gone.
        """
        data = b"".join(_line(row) for row in rows)
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror or error}.") from error

    def close(self) -> None:
        """Close the file and see it onto the disk."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def _start(self, header: Row) -> BinaryIO:
        file = self.path.open("wb")
        file.write(_line(header))
        file.flush()
        return file

    def _reopen(self, header: Row) -> BinaryIO:
        file = self.path.open("r+b")
        first = file.readline()
        if not first.endswith(b"\n"):  # killed while the header was being written
            file.close()
            return self._start(header)
        if json.loads(first) != header:
            file.close()
            raise ResumeMismatchError(f"{self.path} was begun with another classifier, policy or option.")
        end = file.tell()
        for line in file:
            if not line.endswith(b"\n"):
                break
            self._done.add(_key(json.loads(line)["path"]))
            end += len(line)
        file.truncate(end)
        file.seek(end)
        return file


def read_rows(path: Path) -> Iterator[Row]:
    """A journal's rows, without its header."""
    with path.open("rb") as file:
        file.readline()
        for line in file:
            yield json.loads(line)


def _line(row: Row) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\n"


def _key(path: str) -> bytes:
    """Twelve bytes for a path: millions of them fit in memory, and no two paths will ever share one."""
    return hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=12).digest()
