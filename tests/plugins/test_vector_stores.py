"""A vector store of a plug-in is opened by its name and used as the built-in one is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from safelight.errors import DuplicateNameError, VectorMismatchError
from safelight.plugins import PLUGINS, Registry, hookimpl
from safelight.search import VECTOR_STORES, Match, VectorSpace, VectorStore, VectorStoreType


class SignStore:
    """An approximate store in memory: of each vector it keeps only the signs."""

    def __init__(self, folder: Path, space: VectorSpace) -> None:
        self.space, self._signs = space, dict[int, NDArray[np.float32]]()

    def upsert(self, digest: str, ids: Sequence[int], vectors: NDArray[np.float32]) -> None:
        self.space.check(digest, vectors)
        self._signs |= dict(zip(ids, np.sign(vectors), strict=True))

    def delete(self, ids: Sequence[int]) -> None:
        for number in ids:
            self._signs.pop(number, None)

    def query(self, digest: str, vectors: NDArray[np.float32], k: int = 10) -> list[list[Match]]:
        self.space.check(digest, vectors)
        return [self._query_one(np.sign(vector))[:k] for vector in vectors]

    def _query_one(self, wanted: NDArray[np.float32]) -> list[Match]:
        matches = [
            Match(number, float(signs @ wanted) / len(wanted)) for number, signs in self._signs.items()
        ]
        return sorted(matches, key=lambda match: -match.similarity)

    def ids(self) -> NDArray[np.int64]:
        return np.array(sorted(self._signs), np.int64)

    def count(self) -> int:
        return len(self._signs)

    def close(self) -> None:
        self._signs.clear()


class Toy:
    """A plug-in with one type of vector store."""

    def __init__(self, name: str = "signs") -> None:
        self.name = name

    @hookimpl
    def register_vector_stores(self, registry: Registry[VectorStoreType]) -> None:
        registry.register(self.name, VectorStoreType(self.name, SignStore))


@pytest.fixture
def toy() -> Iterator[None]:
    with PLUGINS.registered(Toy(), "toy"):
        yield


@pytest.mark.parametrize("name", ["exact", "signs"])
def test_stores_of_every_type_are_used_alike(toy: None, tmp_path: Path, name: str) -> None:
    assert list(VECTOR_STORES) == ["exact", "signs"]
    space = VectorSpace("a" * 64, 4)
    store: VectorStore = VECTOR_STORES[name].open(tmp_path / name, space)
    vectors = np.array([[1, 1, 1, 1], [1, 1, -1, -1], [-1, -1, -1, -1]], np.float32)
    store.upsert(space.digest, [7, 8, 9], vectors)
    store.delete([9, 10])
    answers = store.query(space.digest, vectors[:2], k=5)
    assert [[match.id for match in matches] for matches in answers] == [[7, 8], [8, 7]]
    assert [match.similarity for match in answers[0]] == pytest.approx([1, 0])
    assert (store.count(), store.ids().tolist(), store.space) == (2, [7, 8], space)
    with pytest.raises(VectorMismatchError):
        store.upsert("b" * 64, [1], vectors[:1])
    store.close()


def test_a_built_in_name_is_taken() -> None:
    with PLUGINS.registered(Toy("exact"), "toy"), pytest.raises(DuplicateNameError, match="'exact' of toy"):
        len(VECTOR_STORES)
