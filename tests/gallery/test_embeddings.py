from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, func, select
from tests.database.snapshot import ALL, restore
from tests.gallery.conftest import NOON, new_entry

from safelight.database import migrate, open_database, read_transaction
from safelight.gallery import Embedding, Gallery
from safelight.gallery.embeddings import UNKNOWN_CLASSIFIER
from safelight.gallery.tables import embeddings
from safelight.moderation.policy import Decision
from safelight.settings import Settings

ONE, OTHER = "ab" * 32, "cd" * 32
SNAPSHOT = "c421f3b"


def embedding(seed: int = 0, digest: str = ONE, dimension: int = 16) -> Embedding:
    vector = np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)
    return Embedding(digest, "open-nsfw", vector)


def count(engine: Engine) -> int:
    with read_transaction(engine) as connection:
        return connection.execute(select(func.count()).select_from(embeddings)).scalar_one()


def test_embeddings_are_exact_and_have_their_classifier(gallery: Gallery) -> None:
    given = embedding(1, dimension=1024)
    entry = gallery.add(new_entry(embedding=given))
    found = gallery.embedding(entry.id, ONE, "anna")
    assert found == given
    assert found is not None
    assert found.vector.dtype == np.float32
    assert np.array_equal(found.vector, given.vector)
    assert gallery.embedding(entry.id, OTHER) is None


def test_any_memory_layout_is_accepted(gallery: Gallery) -> None:
    numbers = np.arange(8, dtype=">f8")[::2]
    entry = gallery.add(new_entry(embedding=Embedding(ONE, "x", numbers)))  # type: ignore[arg-type]
    found = gallery.embedding(entry.id, ONE)
    assert found is not None
    assert found.vector.tolist() == [0.0, 2.0, 4.0, 6.0]


def test_more_than_one_dimension_is_refused() -> None:
    with pytest.raises(ValueError, match="dimension"):
        Embedding(ONE, "x", np.zeros((1, 4), np.float32))


def test_pages_have_one_classifiers_embeddings_in_insertion_order(gallery: Gallery) -> None:
    ids = [
        gallery.add(new_entry(number, embedding=embedding(number, OTHER if number == 2 else ONE))).id
        for number in range(5)
    ]
    gallery.add(new_entry(5))
    first = gallery.embeddings(ONE, limit=3)
    assert [each.entry_id for each in first] == [ids[0], ids[1], ids[3]]
    assert {each.owner for each in first} == {"anna"}
    assert np.array_equal(first[2].embedding.vector, embedding(3).vector)
    rest = gallery.embeddings(ONE, after=first[-1].number, limit=3)
    assert [each.entry_id for each in rest] == [ids[4]]
    assert gallery.embeddings(ONE, after=rest[-1].number) == []
    assert [each.entry_id for each in gallery.embeddings(OTHER)] == [ids[2]]


def test_a_replica_finds_deleted_and_new_embeddings(gallery: Gallery) -> None:
    ids = [gallery.add(new_entry(number, embedding=embedding(number))).id for number in range(3)]
    copy = {each.number for each in gallery.embeddings(ONE)}
    gallery.delete(ids[2])
    gallery.add(new_entry(7, embedding=embedding(7)))
    present = [*gallery.embedding_numbers(ONE, limit=2)]
    present += gallery.embedding_numbers(ONE, after=present[-1], limit=2)
    assert len(copy - set(present)) == len(set(present) - copy) == 1
    assert max(present) > max(copy)  # the deleted one's number is not reused


def test_they_are_deleted_with_their_entries(gallery: Gallery, engine: Engine) -> None:
    kept = gallery.add(new_entry(0, embedding=embedding(), favourite=True))
    gallery.delete(gallery.add(new_entry(1, embedding=embedding())).id)
    gallery.add(new_entry(2, embedding=embedding()))
    assert count(engine) == 2
    assert gallery.expire(NOON.replace(year=2100)) == 1
    assert [each.entry_id for each in gallery.embeddings(ONE)] == [kept.id]
    assert count(engine) == 1


def test_blocked_images_have_one_too(gallery: Gallery) -> None:
    entry = gallery.add(new_entry(decision=Decision.BLOCK, embedding=embedding()))
    assert gallery.embedding(entry.id, ONE) == embedding()


def test_those_of_an_old_database_are_kept_and_marked(database_settings: Settings, tmp_path: Path) -> None:
    """Their classifier is unknown."""
    engine = open_database(database_settings)
    restore(engine, SNAPSHOT)
    migrate(engine, ALL)
    gallery = Gallery(engine, tmp_path)
    first, second, third = gallery.embeddings(UNKNOWN_CLASSIFIER)
    vector = np.linspace(-1, 1, 8, dtype=np.float32)
    assert np.array_equal(first.embedding.vector, vector)
    assert np.array_equal(second.embedding.vector, 2 * vector)
    assert np.array_equal(third.embedding.vector, vector[:4])
    assert {each.embedding.classifier for each in (first, second, third)} == {None}
    with read_transaction(engine) as connection:
        assert [*connection.execute(select(embeddings.c.dimension)).scalars()] == [8, 8, 4]
    engine.dispose()
