"""Collections, in both databases."""

from __future__ import annotations

import pytest
from tests.gallery.conftest import new_entry

from safelight.errors import CollectionExistsError, CollectionMissingError, GalleryError
from safelight.gallery import BulkChange, Gallery, Search, collections
from safelight.gallery.collections import Collection
from safelight.moderation.policy import Decision


def add_to(gallery: Gallery, collection: Collection, *entry_ids: str) -> None:
    gallery.annotate_many(entry_ids, BulkChange(add_to=(collection.id,)))


def test_collections_of_owners(gallery: Gallery) -> None:
    trees, sea, other = (
        gallery.collections.add(name, owner)
        for name, owner in (("trees", "anna"), (" sea ", "anna"), ("sea", "ben"))
    )
    assert gallery.collections.list("anna") == (sea, trees)
    assert gallery.collections.list("ben") == (other,)
    assert gallery.collections.list() == (sea, trees, other)
    assert gallery.collections.get(sea.id, "anna").name == "sea"
    assert len(sea.id) == 16


def test_contents(gallery: Gallery) -> None:
    """The cover is the newest picture that has a file; another owner's pictures do not count for a user."""
    first, second = (gallery.add(new_entry(number)) for number in range(2))
    blocked = gallery.add(new_entry(2, decision=Decision.BLOCK))
    others = gallery.add(new_entry(3, owner="ben"))
    sea, empty = (gallery.collections.add(name, "anna") for name in ("sea", "trees"))
    add_to(gallery, sea, first.id, second.id, blocked.id, others.id)
    assert [(each.pictures, each.cover) for each in gallery.collections.list("anna")] == [
        (3, second.id),
        (0, None),
    ]
    assert gallery.collections.get(sea.id) == Collection(sea.id, "anna", "sea", sea.created, 4, others.id)
    assert gallery.facets("anna").collections == {sea.id: 3}
    assert gallery.facets("ben").collections == {}
    assert gallery.facets().collections == {sea.id: 4}
    assert gallery.get(others.id, "ben").collections == (), "of a collection that ben may not see"
    assert [entry.id for entry in gallery.search(Search(collection=sea.id), "ben").entries] == [others.id]
    gallery.delete(second.id)
    assert gallery.collections.get(sea.id, "anna").cover == first.id
    assert gallery.collections.get(empty.id).pictures == 0


def test_renaming(gallery: Gallery) -> None:
    sea, trees = (gallery.collections.add(name, "anna") for name in ("sea", "trees"))
    assert gallery.collections.rename(sea.id, " lake ", "anna").name == "lake"
    assert gallery.collections.rename(sea.id, "lake", "anna").name == "lake"
    with pytest.raises(CollectionExistsError, match="trees"):
        gallery.collections.rename(sea.id, "trees", "anna")
    with pytest.raises(CollectionMissingError):
        gallery.collections.rename(trees.id, "x", "ben")
    assert [each.name for each in gallery.collections.list()] == ["lake", "trees"]


def test_deleting_keeps_the_pictures(gallery: Gallery) -> None:
    entry, sea = gallery.add(new_entry(1)), gallery.collections.add("sea", "anna")
    add_to(gallery, sea, entry.id)
    with pytest.raises(CollectionMissingError):
        gallery.collections.delete(sea.id, "ben")
    assert gallery.collections.delete(sea.id, "anna").pictures == 1
    assert gallery.collections.list() == ()
    assert gallery.get(entry.id) == entry
    with pytest.raises(CollectionMissingError):
        gallery.collections.get(sea.id)


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\0", "\ud800"])
def test_names_that_are_refused(gallery: Gallery, name: str) -> None:
    sea = gallery.collections.add("sea", "anna")
    with pytest.raises(GalleryError, match="name"):
        gallery.collections.add(name, "anna")
    with pytest.raises(GalleryError, match="name"):
        gallery.collections.rename(sea.id, name)


def test_the_limit(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collections, "MAX_COLLECTIONS", 2)
    for name in ("a", "b"):
        gallery.collections.add(name, "anna")
    with pytest.raises(GalleryError, match="at most 2"):
        gallery.collections.add("c", "anna")
    gallery.collections.add("a", "ben")
    with pytest.raises(CollectionExistsError):
        gallery.collections.add("a", "ben")
