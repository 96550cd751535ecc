"""Changes of many entries at once, in both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.gallery.conftest import new_entry

from safelight.errors import CollectionMissingError, EntryMissingError, GalleryError, OutputError
from safelight.gallery import BulkChange, Entry, Gallery, Search
from safelight.gallery.files import ImageFolder
from safelight.moderation.policy import Decision
from safelight.settings import Settings

NOBODYS = "0" * 22


@pytest.fixture
def made(gallery: Gallery) -> list[Entry]:
    """Three entries of anna's and one of ben's."""
    return [
        gallery.add(new_entry(1, tags=("x", "y"))),
        gallery.add(new_entry(2)),
        gallery.add(new_entry(3, decision=Decision.BLOCK)),
        gallery.add(new_entry(4, owner="ben")),
    ]


def ids(entries: list[Entry]) -> list[str]:
    return [entry.id for entry in entries]


def test_marking(gallery: Gallery, made: list[Entry]) -> None:
    change = BulkChange(favourite=True, add_tags=(" new ", "x"), remove_tags=("y", "none"))
    results = gallery.annotate_many([*ids(made), made[0].id, NOBODYS, "odd"], change, "anna")
    assert [result.id for result in results] == [*ids(made), NOBODYS, "odd"]
    assert [type(result.error) for result in results[3:]] == [EntryMissingError] * 3
    assert [result.entry for result in results[3:]] == [None] * 3
    for result in results[:3]:
        assert result.error is None
        assert result.owner == "anna"
        assert result.entry == gallery.get(result.id)
        assert (result.entry.favourite, result.entry.tags) == (True, ("new", "x"))
    assert gallery.get(made[3].id) == made[3]


def test_a_change_without_fields_changes_nothing(gallery: Gallery, made: list[Entry]) -> None:
    results = gallery.annotate_many(ids(made), BulkChange())
    assert [result.entry for result in results] == made


def test_too_many_tags_on_one_entry(gallery: Gallery, made: list[Entry]) -> None:
    """It is left as it is, and the others are changed."""
    gallery.annotate(made[0].id, tags=[f"t{number}" for number in range(49)])
    refused, changed, *_ = gallery.annotate_many(ids(made), BulkChange(favourite=True, add_tags=("a", "b")))
    assert isinstance(refused.error, GalleryError)
    assert refused.owner == "anna"
    assert (changed.error, gallery.get(made[1].id).tags) == (None, ("a", "b"))
    assert (len(gallery.get(made[0].id).tags), gallery.get(made[0].id).favourite) == (49, False)
    replaced, *_ = gallery.annotate_many(
        ids(made), BulkChange(add_tags=("a", "b", "t2"), remove_tags=("t1", "t2"))
    )
    assert replaced.entry is not None
    assert len(replaced.entry.tags) == 50


def test_adding_to_collections(gallery: Gallery, made: list[Entry]) -> None:
    sea, trees = (gallery.collections.add(name, "anna") for name in ("sea", "trees"))
    gallery.annotate_many(ids(made), BulkChange(add_to=(trees.id, sea.id, sea.id)), "anna")
    assert gallery.get(made[0].id, "anna").collections == (sea.id, trees.id)
    gallery.annotate_many(ids(made[:2]), BulkChange(add_to=(sea.id,), remove_from=(trees.id,)), "anna")
    assert gallery.get(made[0].id, "anna").collections == (sea.id,)
    found = gallery.search(Search(collection=trees.id), "anna").entries
    assert ids(list(found)) == [made[2].id]
    assert found[0].collections == (sea.id, trees.id)


@pytest.mark.parametrize("field", ["add_to", "remove_from"])
def test_a_collection_of_another_owner(gallery: Gallery, made: list[Entry], field: str) -> None:
    collection = gallery.collections.add("sea", "ben")
    for missing in (collection.id, "0" * 16, "a\ufffd"):
        with pytest.raises(CollectionMissingError):
            gallery.annotate_many(
                [made[0].id], BulkChange.model_validate({"favourite": True, field: [missing]}), "anna"
            )
    assert gallery.get(made[0].id).favourite is False


def test_deleting(gallery: Gallery, made: list[Entry], database_settings: Settings) -> None:
    gallery.thumbnail(made[0].id, 16)
    results = gallery.delete_many([*ids(made), made[0].id, NOBODYS, "odd"], "anna")
    assert [(result.id, result.error is None) for result in results] == [
        *((entry.id, entry.owner == "anna") for entry in made),
        (NOBODYS, False),
        ("odd", False),
    ]
    assert gallery.search(Search()).entries == (made[3],)
    kept = [path.stem for path in database_settings.home.rglob("*") if path.suffix in (".png", ".webp")]
    assert kept == [made[3].id]


def test_a_file_that_cannot_be_deleted(
    gallery: Gallery, made: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entry is kept, and the others are deleted."""
    remove = ImageFolder.remove

    def fail(folder: ImageFolder, path: Path) -> None:
        if path.stem == made[0].id:
            raise OutputError("It is in use.")
        remove(folder, path)

    monkeypatch.setattr(ImageFolder, "remove", fail)
    kept, *others = gallery.delete_many(ids(made))
    assert isinstance(kept.error, OutputError)
    assert all(other.error is None for other in others)
    assert gallery.search(Search()).entries == (made[0],)
    assert gallery.read(made[0].id)
    with pytest.raises(OutputError):
        gallery.delete(made[0].id)


def test_many(gallery: Gallery) -> None:
    """More than a transaction deletes."""
    entries = [gallery.add(new_entry(number, decision=Decision.BLOCK)) for number in range(120)]
    assert all(result.error is None for result in gallery.delete_many(ids(entries)))
    assert gallery.search(Search()).entries == ()


def test_marking_while_others_delete(gallery: Gallery) -> None:
    """Each entry is changed, or missing; and no request fails."""
    for round_number in range(5):
        entries = [
            gallery.add(new_entry(20 * round_number + number, decision=Decision.BLOCK))
            for number in range(20)
        ]
        collection = gallery.collections.add(f"c{round_number}", "anna")
        change = BulkChange(favourite=True, add_tags=("x",), add_to=(collection.id,))
        with ThreadPoolExecutor(3) as pool:
            marking = [pool.submit(gallery.annotate_many, ids(entries), change) for _ in range(2)]
            deleting = pool.submit(gallery.delete_many, ids(entries[5:15]))
            assert all(result.error is None for result in deleting.result())
            for results in (marked.result() for marked in marking):
                assert all(result.error is None for result in (*results[:5], *results[15:]))
                assert {type(result.error) for result in results} <= {type(None), EntryMissingError}
        assert gallery.collections.get(collection.id).pictures == 10
