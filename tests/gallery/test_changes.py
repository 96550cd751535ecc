"""Changes of the gallery as readers of any process see them, in both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine
from tests.gallery.conftest import new_entry

from safelight.database.coordination import now
from safelight.database.engine import write_transaction
from safelight.errors import CollectionMissingError
from safelight.gallery import BulkChange, Gallery
from safelight.gallery.changes import (
    OVERLAP,
    RETENTION,
    ChangeReader,
    GalleryChange,
    delete_old_changes,
    record_change,
)


def test_each_change_is_read_once(gallery: Gallery, engine: Engine) -> None:
    anna, berta = gallery.add(new_entry(1)), gallery.add(new_entry(2, owner="berta"))
    gallery.annotate(anna.id, favourite=True)
    reader, other = ChangeReader(engine), ChangeReader(engine)
    assert reader.read() == [], "what was changed before is not new"
    gallery.annotate(anna.id, tags=["sea"])
    assert reader.read() == [GalleryChange("anna", changed=(anna.id,))]
    lake = gallery.collections.add("lake", "anna")
    gallery.annotate_many([anna.id, berta.id], BulkChange(favourite=True, add_to=(lake.id,)))
    gallery.collections.rename(lake.id, "sea")
    gallery.collections.delete(lake.id)
    gallery.delete_many([berta.id, anna.id, "none"])
    found = [
        GalleryChange("anna", collections=True),
        GalleryChange("anna", changed=(anna.id,)),
        GalleryChange("berta", changed=(berta.id,)),
        *[GalleryChange("anna", collections=True)] * 3,
        GalleryChange("berta", deleted=(berta.id,)),
        GalleryChange("anna", deleted=(anna.id,)),
    ]
    assert sorted(map(str, reader.read())) == sorted(map(str, found))
    assert reader.read() == []
    assert len(other.read()) == len(found) + 1, "every reader reads all of them"


def test_a_change_that_failed_is_none(gallery: Gallery, engine: Engine) -> None:
    entry, reader = gallery.add(new_entry(1)), ChangeReader(engine)
    with pytest.raises(CollectionMissingError):
        gallery.annotate_many([entry.id], BulkChange(favourite=True, add_to=("0" * 16,)))
    assert reader.read() == []


def test_old_changes_are_deleted_and_later_ones_read(gallery: Gallery, engine: Engine) -> None:
    entry, reader = gallery.add(new_entry(1)), ChangeReader(engine)
    change = GalleryChange(None, changed=(entry.id,))
    with write_transaction(engine) as connection:
        for _ in range(2 * OVERLAP):
            record_change(connection, change)
    assert len(reader.read()) == 2 * OVERLAP
    with write_transaction(engine) as connection:
        delete_old_changes(connection, now(connection) + RETENTION + timedelta(seconds=1))
        record_change(connection, change)
    assert reader.read() == [change]
