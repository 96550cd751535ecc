"""Entries that know which picture theirs was made from, in both databases."""

from __future__ import annotations

from datetime import timedelta

from tests.gallery.conftest import NOON, new_entry

from safelight.gallery import Gallery, Relation, Search


def test_an_entry_knows_its_parent(gallery: Gallery) -> None:
    parent = gallery.add(new_entry(1))
    child = gallery.add(new_entry(2, parent_id=parent.id, relation=Relation.EDIT))
    assert (parent.parent_id, parent.relation) == (None, None)
    assert (child.parent_id, child.relation) == (parent.id, Relation.EDIT)
    assert gallery.get(child.id).relation is Relation.EDIT
    assert gallery.search(Search(parent=parent.id)).entries == (child,)
    assert gallery.search(Search(parent=child.id)).entries == ()


def test_a_deleted_parent(gallery: Gallery) -> None:
    """Its children stay, without a reference to what is no longer there."""
    parent = gallery.add(new_entry(1))
    child = gallery.add(
        new_entry(2, created=NOON + timedelta(days=1), parent_id=parent.id, relation="upscale")
    )
    gallery.delete(parent.id)
    assert (gallery.get(child.id).parent_id, gallery.get(child.id).relation) == (None, Relation.UPSCALE)
    late = gallery.add(new_entry(3, parent_id=parent.id, relation=Relation.AGAIN))
    assert (late.parent_id, late.relation) == (None, Relation.AGAIN)


def test_an_expired_parent(gallery: Gallery) -> None:
    parent = gallery.add(new_entry(1))
    child = gallery.add(new_entry(2, created=NOON + timedelta(days=1), parent_id=parent.id))
    assert gallery.expire(NOON + timedelta(hours=1)) == 1
    assert gallery.get(child.id).parent_id is None
