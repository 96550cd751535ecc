"""What a vector store is, and the registry of its types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from safelight.errors import VectorInvalidError, VectorMismatchError, VectorStoreUnknownError
from safelight.plugins import Registry


class Match(NamedTuple):
    """A vector that a query found.

    Args:
        id: Its id.
        similarity: Cosine of the angle to the vector of the query, -1 to 1.
    """

    id: int
    similarity: float


@dataclass(frozen=True)
class VectorSpace:
    """What the vectors of one store have in common.

    Args:
        digest: SHA-256 of the weights of the classifier that made them, in hexadecimal.
        dimension: Their number of elements, at least 1.

    Raises:
        VectorInvalidError: The dimension is below 1.
    """

    digest: str
    dimension: int

    def __post_init__(self) -> None:
        if self.dimension < 1:
            raise VectorInvalidError(f"There are no vectors of dimension {self.dimension}.")

    def check(self, digest: str, vectors: NDArray[np.float32]) -> None:
        """Refuse vectors that a store of this space cannot hold or compare.

        Args:
            digest: That of the classifier that made the vectors.
            vectors: float32 [n, dimension].

        Raises:
            VectorMismatchError: They are of another classifier or dimension.
            VectorInvalidError: They are no table of vectors, or one of them is zero or not finite.
        """
        if digest != self.digest:
            raise VectorMismatchError(
                f"The vectors are of the classifier {digest}, the store of {self.digest}."
            )
        if vectors.ndim != 2:
            raise VectorInvalidError(f"The vectors have {vectors.ndim} axes instead of 2.")
        if vectors.shape[1] != self.dimension:
            raise VectorMismatchError(
                f"The vectors have the dimension {vectors.shape[1]}, not {self.dimension}."
            )
        if not (np.isfinite(vectors).all() and vectors.any(axis=1).all()):
            raise VectorInvalidError("A vector is zero or not finite, so that it has no direction.")


class VectorStore(Protocol):
    """Vectors of one ``VectorSpace`` by id, and the search for the most similar ones.

    An id is a number from 0 to 2**63 - 1, such as the number of a gallery entry. Owners and other properties are not
    stored: what a query finds is checked against the gallery.

    An implementation promises:

    - *Durability.* When ``upsert`` or ``delete`` returns, its change is stored, and a store that is opened later has
      it. When it raises, or the process is killed meanwhile, the store has the whole change or nothing of it.
    - *Thread safety.* Threads may call all methods at once. A query sees a change wholly or not at all, and sees every
      change that has returned before.
    - *Refusal.* Vectors that ``VectorSpace.check`` refuses are not stored and not searched for. A store that was
      created for another space is not opened.

    A store with an approximate index may miss matches, and its documentation says so. A store of another host chooses
    the consistency level that keeps these promises.
    """

    @property
    def space(self) -> VectorSpace:
        """The space of the vectors."""

    def upsert(self, digest: str, ids: Sequence[int], vectors: NDArray[np.float32]) -> None:
        """Store vectors; one whose id is there already replaces it.

        Args:
            digest: That of the classifier that made the vectors.
            ids: An id for each vector; of vectors with the same id the last one is stored.
            vectors: float32 [n, dimension].

        Raises:
            VectorInvalidError: The vectors are not of this space, an id is out of range, or their number differs.
            VectorStoreError, OutputError: They cannot be stored.
        """

    def delete(self, ids: Sequence[int]) -> None:
        """Delete vectors; ids that are not there are ignored.

        Raises:
            VectorStoreError, OutputError: The change cannot be stored.
        """

    def query(self, digest: str, vectors: NDArray[np.float32], k: int = 10) -> list[list[Match]]:
        """The most similar vectors of each given one.

        Args:
            digest: That of the classifier that made the given vectors.
            vectors: float32 [n, dimension].
            k: The largest number of matches for each, at least 1.

        Returns:
            For each given vector its matches, the most similar one first; fewer than k if the store has fewer vectors.

        Raises:
            VectorInvalidError: The vectors are not of this space, or k is below 1 or above what the store can return.
            VectorStoreError: The store cannot be searched.
        """

    def ids(self) -> NDArray[np.int64]:
        """The ids of all vectors in ascending order: comparing them with the gallery's shows what is missing."""

    def count(self) -> int:
        """The number of vectors."""

    def close(self) -> None:
        """Release files, locks and connections; the store is not used afterwards."""


@dataclass(frozen=True)
class VectorStoreType:
    """A type of vector store.

    Args:
        name: Its name.
        open: Opens the store in a folder, or creates it there. The folder belongs to the store, and is created by it; a
            store that keeps its vectors on another host may need nothing of it but its name. Raises
            ``VectorMismatchError`` if the store is one of another space, ``VectorStoreDamagedError`` if it cannot be
            read, ``VectorStoreLockedError`` if it is open elsewhere and cannot be shared.
    """

    name: str
    open: Callable[[Path, VectorSpace], VectorStore]


VECTOR_STORES = Registry[VectorStoreType](
    "type of vector store",
    "register_vector_stores",
    VectorStoreUnknownError,
    ("safelight.search.stores.exact",),
    name_field="name",
)
"""Every type of vector store by name."""
