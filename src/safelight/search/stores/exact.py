"""The exact vector store: all vectors in memory and in one file; a query is compared with each of them.

Each change writes the whole file, which has 4 bytes for each element: for 10,000 vectors of dimension 512 it is 20 MB.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from safelight.atomic_write import atomic_write, sync_folder
from safelight.errors import (
    VectorInvalidError,
    VectorMismatchError,
    VectorStoreDamagedError,
    VectorStoreError,
    VectorStoreLockedError,
)
from safelight.file_locks import FileLock
from safelight.file_permissions import create_private_folder, private_opener
from safelight.plugins import Registry, hookimpl
from safelight.search.store import Match, VectorSpace, VectorStoreType

FILE, LOCK = "vectors.bin", "vectors.lock"
"""The file is the SHA-256 of its rest, which is NumPy's npz with the arrays ``digest``, ``ids`` and ``vectors``."""


class _Table(NamedTuple):
    """The contents of a store; never changed, but replaced by another table.

    Args:
        ids: int64 [n], ascending.
        vectors: float32 [n, dimension], each of length 1.
    """

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]


class ExactVectorStore:
    """A ``VectorStore`` in a folder, which one process has open at a time.

    Args:
        folder: Its folder; created if it is missing.
        space: The space of its vectors.

    Raises:
        VectorStoreLockedError: The store is open already.
        VectorMismatchError: The store in the folder has another space.
        VectorStoreDamagedError: Its file is damaged.
        VectorStoreError: Its folder or its file cannot be opened.
    """

    def __init__(self, folder: Path, space: VectorSpace) -> None:
        self._path, self._space = folder / FILE, space
        self._lock, self._writing = FileLock(folder / LOCK), Lock()
        try:
            create_private_folder(folder)
            if not self._lock.acquire(f"process {os.getpid()}"):
                raise VectorStoreLockedError(f"{folder} is open in {self._lock.holder()}.")
        except OSError as error:
            raise VectorStoreError(f"{folder} cannot be opened: {error.strerror or error}.") from error
        try:
            self._table = self._open()
        except BaseException:
            self._lock.release()
            raise

    @property
    def space(self) -> VectorSpace:
        """The space of the vectors."""
        return self._space

    def upsert(self, digest: str, ids: Sequence[int], vectors: NDArray[np.float32]) -> None:
        """Store vectors; one whose id is there already replaces it."""
        self._space.check(digest, vectors)
        if len(ids) != len(vectors) or not all(0 <= number < 2**63 for number in ids):
            raise VectorInvalidError(
                f"There are {len(ids)} ids for {len(vectors)} vectors, or one is out of range."
            )
        if not len(ids):
            return
        with self._writing:
            old = self._table
            given = np.array(ids, np.int64)
            # of equal ids np.unique chooses the first one, so the newest come first
            chosen, rows = np.unique(np.concatenate([given[::-1], old.ids]), return_index=True)
            self._replace(_Table(chosen, np.concatenate([_normalized(vectors)[::-1], old.vectors])[rows]))

    def delete(self, ids: Sequence[int]) -> None:
        """Delete vectors; ids that are not there are ignored."""
        unwanted = set(ids)
        with self._writing:
            old = self._table
            kept = np.array([number not in unwanted for number in old.ids.tolist()], bool)
            if not kept.all():
                self._replace(_Table(old.ids[kept], old.vectors[kept]))

    def query(self, digest: str, vectors: NDArray[np.float32], k: int = 10) -> list[list[Match]]:
        """The k most similar vectors of each given one; of equally similar ones those with the smaller ids."""
        self._space.check(digest, vectors)
        if k < 1:
            raise VectorInvalidError(f"{k} matches cannot be searched for.")
        table = self._table
        similarities = np.clip(_normalized(vectors) @ table.vectors.T, -1, 1)
        best = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
        return [
            [Match(int(table.ids[column]), float(row[column])) for column in columns]
            for row, columns in zip(similarities, best, strict=True)
        ]

    def ids(self) -> NDArray[np.int64]:
        """The ids of all vectors in ascending order."""
        return self._table.ids.copy()

    def count(self) -> int:
        """The number of vectors."""
        return len(self._table.ids)

    def close(self) -> None:
        """Release the store, so that it can be opened again."""
        self._lock.release()

    def _open(self) -> _Table:
        """Read the file, or create it; what a process that was killed left of its writes is deleted."""
        try:
            for path in self._path.parent.glob(f".{FILE}.*.tmp"):
                path.unlink(missing_ok=True)
            data = self._path.read_bytes()
        except FileNotFoundError:
            empty = _Table(np.zeros(0, np.int64), np.zeros((0, self._space.dimension), np.float32))
            self._write(empty)
            return empty
        except OSError as error:
            raise VectorStoreError(f"{self._path} cannot be read: {error.strerror or error}.") from error
        if hashlib.sha256(data[32:]).digest() != data[:32]:
            raise VectorStoreDamagedError(f"{self._path} is damaged.")
        with np.load(io.BytesIO(data[32:]), allow_pickle=False) as arrays:
            digest, table = str(arrays["digest"]), _Table(arrays["ids"], arrays["vectors"])
        if VectorSpace(digest, table.vectors.shape[1]) != self._space:
            raise VectorMismatchError(
                f"{self._path} has vectors of dimension {table.vectors.shape[1]} by the classifier {digest}."
            )
        return table

    def _replace(self, table: _Table) -> None:
        self._write(table)
        self._table = table

    def _write(self, table: _Table) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, digest=np.array(self._space.digest), ids=table.ids, vectors=table.vectors)
        with (
            atomic_write(self._path) as temporary,
            open(temporary, "xb", opener=private_opener) as file,
        ):
            file.write(hashlib.sha256(buffer.getbuffer()).digest())
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        try:
            sync_folder(self._path.parent)
        except OSError as error:
            raise VectorStoreError(f"{self._path} cannot be stored: {error.strerror or error}.") from error


def _normalized(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors of the same directions and of length 1; the largest element is divided by first, against overflow."""
    scaled = vectors.astype(np.float64) / np.abs(vectors).max(axis=1, keepdims=True)
    unit: NDArray[np.float32] = (scaled / np.linalg.norm(scaled, axis=1, keepdims=True)).astype(np.float32)
    return unit


@hookimpl
def register_vector_stores(registry: Registry[VectorStoreType]) -> None:
    """Register the exact store."""
    registry.register("exact", VectorStoreType("exact", ExactVectorStore))
