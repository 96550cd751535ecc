"""The exact store against a brute force, over restarts, and with a damaged file."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from safelight.atomic_write import temporary_path
from safelight.errors import (
    OutputError,
    VectorInvalidError,
    VectorMismatchError,
    VectorStoreDamagedError,
    VectorStoreError,
    VectorStoreLockedError,
)
from safelight.search import VectorSpace
from safelight.search.stores.exact import FILE, ExactVectorStore

SPACE = VectorSpace("d" * 64, 3)
Vectors = NDArray[np.float32]


@contextmanager
def opened(folder: Path, space: VectorSpace = SPACE) -> Iterator[ExactVectorStore]:
    store = ExactVectorStore(folder, space)
    try:
        yield store
    finally:
        store.close()


def put(store: ExactVectorStore, **vectors: list[float]) -> None:
    """Store vectors by names such as ``v7``, whose id is 7."""
    store.upsert(SPACE.digest, [int(name[1:]) for name in vectors], np.array([*vectors.values()], np.float32))


def nearest(store: ExactVectorStore, vector: list[float], k: int = 10) -> list[int]:
    (matches,) = store.query(SPACE.digest, np.array([vector], np.float32), k)
    return [match.id for match in matches]


VECTOR = arrays.arrays(
    np.float32, 3, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
).filter(np.any)
CHANGES = st.lists(
    st.one_of(
        st.lists(st.tuples(st.integers(0, 9), VECTOR), min_size=1, max_size=6),  # upserts
        st.lists(st.integers(-1, 10), max_size=4),  # deletions
    ),
    max_size=6,
)


@given(changes=CHANGES, wanted=st.lists(VECTOR, min_size=1, max_size=3), k=st.integers(1, 12))
def test_it_finds_what_a_brute_force_finds(changes: list[Any], wanted: list[Vectors], k: int) -> None:
    expected: dict[int, Vectors] = {}
    with TemporaryDirectory() as folder:
        with opened(Path(folder)) as store:
            for change in changes:
                if change and isinstance(change[0], tuple):
                    numbers, vectors = zip(*change, strict=True)
                    store.upsert(SPACE.digest, numbers, np.stack(vectors))
                    expected |= dict(change)
                else:
                    store.delete(change)
                    expected = {number: vector for number, vector in expected.items() if number not in change}
            check(store, expected, wanted, k)
        with opened(Path(folder)) as store:
            check(store, expected, wanted, k)


def check(store: ExactVectorStore, expected: dict[int, Vectors], wanted: list[Vectors], k: int) -> None:
    assert store.count() == len(expected)
    assert store.ids().tolist() == sorted(expected)
    answers = store.query(SPACE.digest, np.stack(wanted), k)
    assert len(answers) == len(wanted)
    for vector, matches in zip(wanted, answers, strict=True):
        similarities = {number: cosine(vector, other) for number, other in expected.items()}
        found = [match.id for match in matches]
        assert len(set(found)) == len(found) == min(k, len(expected))
        assert [match.similarity for match in matches] == pytest.approx(
            sorted(similarities.values(), reverse=True)[:k], abs=1e-5
        )
        assert [match.similarity for match in matches] == pytest.approx(
            [similarities[number] for number in found], abs=1e-5
        )


def cosine(one: Vectors, other: Vectors) -> float:
    first, second = one.astype(np.longdouble), other.astype(np.longdouble)
    return float(first @ second / np.sqrt((first @ first) * (second @ second)))


def test_equally_similar_vectors_come_by_their_ids(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        put(store, v3=[2, 0, 0], v1=[1, 0, 0], v2=[0, 1, 0])
        assert nearest(store, [5, 0, 0]) == [1, 3, 2]
        assert nearest(store, [5, 0, 0], k=1) == [1]


@pytest.mark.parametrize(
    "space", [VectorSpace("e" * 64, 3), VectorSpace(SPACE.digest, 4)], ids=["classifier", "dimension"]
)
@pytest.mark.parametrize("empty", [True, False])
def test_a_store_of_another_space_is_not_opened(tmp_path: Path, space: VectorSpace, empty: bool) -> None:
    with opened(tmp_path) as store:
        if not empty:
            put(store, v1=[1, 2, 3])
    with pytest.raises(VectorMismatchError, match=f"dimension 3 by the classifier {SPACE.digest}"):
        ExactVectorStore(tmp_path, space)
    with opened(tmp_path) as store:  # the refusal does not keep it locked
        assert store.space == SPACE


def test_a_mix_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    good = np.ones((1, 3), np.float32)
    with opened(tmp_path) as store:
        put(store, v1=[1, 2, 3])
        for refused in (
            lambda: store.upsert("e" * 64, [2], good),
            lambda: store.upsert(SPACE.digest, [2], np.ones((1, 4), np.float32)),
            lambda: store.upsert(SPACE.digest, [2, 3], good),
            lambda: store.upsert(SPACE.digest, [-1], good),
            lambda: store.upsert(SPACE.digest, [2**63], good),
            lambda: store.upsert(SPACE.digest, [2, 3], np.array([[1, 2, 3], [0, 0, 0]], np.float32)),
            lambda: store.query("e" * 64, good),
            lambda: store.query(SPACE.digest, np.ones((1, 4), np.float32)),
            lambda: store.query(SPACE.digest, good, k=0),
        ):
            with pytest.raises(VectorInvalidError):
                refused()
        assert store.ids().tolist() == [1]


def test_it_is_open_once(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(VectorStoreLockedError, match="is open in process"):
        ExactVectorStore(tmp_path, SPACE)
    with opened(tmp_path) as store:
        assert store.count() == 0


@given(data=st.data())
def test_a_damaged_file_is_refused(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        with opened(Path(folder)) as store:
            put(store, v1=[1, 2, 3], v2=[3, 2, 1])
        path = Path(folder, FILE)
        whole = path.read_bytes()
        place = data.draw(st.integers(0, len(whole) - 1))
        flipped = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
        path.write_bytes(data.draw(st.sampled_from([flipped, whole[:place], whole + b"x"])))
        damaged = path.read_bytes()
        with pytest.raises(VectorStoreDamagedError, match="is damaged"):
            ExactVectorStore(Path(folder), SPACE)
        assert path.read_bytes() == damaged, "it may still be repaired"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(VectorStoreError, match="cannot be read"):
        ExactVectorStore(tmp_path, SPACE)


def test_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(VectorStoreError, match="cannot be opened"):
        ExactVectorStore(tmp_path / "file", SPACE)


def test_a_change_that_cannot_be_written_is_not_made(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        put(store, v1=[1, 0, 0])
        (tmp_path / FILE).unlink()
        (tmp_path / FILE).mkdir()
        with pytest.raises(OutputError):
            put(store, v1=[0, 1, 0], v2=[0, 0, 1])
        with pytest.raises(OutputError):
            store.delete([1])
        assert store.ids().tolist() == [1]
        assert store.query(SPACE.digest, np.array([[1, 0, 0]], np.float32))[0][0].similarity == 1
    assert {path.name for path in tmp_path.iterdir()} == {FILE, "vectors.lock"}, "no temporary file is left"


def test_what_a_killed_process_left_is_deleted(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        put(store, v1=[1, 0, 0])
        left = temporary_path(tmp_path / FILE)
        left.write_bytes(b"half")
        with pytest.raises(VectorStoreLockedError):
            ExactVectorStore(tmp_path, SPACE)
        assert left.exists(), "it belongs to the process that has the lock"
    with opened(tmp_path) as store:
        assert store.ids().tolist() == [1]
    assert {path.name for path in tmp_path.iterdir()} == {FILE, "vectors.lock"}


def test_the_folder_is_synced_after_the_file_was_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, fsync = list[str](), os.fsync

    def record(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        names = {path.name for path in tmp_path.iterdir()}
        synced.append(f"{kind}, {'replaced' if not any(map(is_temporary, names)) else 'not replaced'}")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    with opened(tmp_path) as store:
        synced.clear()
        put(store, v1=[1, 0, 0])
    assert synced == ["file, not replaced", "folder, replaced"]


def is_temporary(name: str) -> bool:
    return name.endswith(".tmp")


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    with opened(tmp_path / "a" / "store"):
        modes = [path.stat().st_mode & 0o077 for path in (tmp_path / "a").rglob("*")]
    assert modes == [0] * 3


def test_queries_see_whole_changes_of_other_threads(tmp_path: Path) -> None:
    """A writer always gives both vectors the same direction, so that every query finds them equally similar."""
    wanted, stop, torn = np.array([[1, 0, 0]], np.float32), threading.Event(), list[Any]()
    with opened(tmp_path) as store:
        put(store, v1=[1, 0, 0], v2=[1, 0, 0])

        def read() -> None:
            while not stop.is_set():
                (matches,) = store.query(SPACE.digest, wanted)
                if len(matches) != 2 or matches[0].similarity != matches[1].similarity:
                    torn.append(matches)

        def write(number: int) -> None:
            for turn in range(10):
                put(store, v1=[1, turn, number], v2=[1, turn, number])

        reader = threading.Thread(target=read)
        writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
        for thread in (reader, *writers):
            thread.start()
        for thread in writers:
            thread.join()
        stop.set()
        reader.join()
    assert not torn


def test_changes_of_several_threads_are_all_kept(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        threads = [
            threading.Thread(target=put, args=(store,), kwargs={f"v{number}": [1, 0, 0]})
            for number in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with opened(tmp_path) as store:
        assert store.ids().tolist() == list(range(20))
