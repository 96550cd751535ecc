from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, select, text
from tests.gallery.conftest import NOON, make_image_file, make_record, new_entry

from safelight.database import read_transaction
from safelight.errors import (
    BlockedError,
    EntryFileMissingError,
    EntryMissingError,
    GalleryError,
    ImageError,
    OutputError,
    SafelightError,
)
from safelight.file_formats import FileFormat
from safelight.gallery import Gallery, NewEntry, Search
from safelight.gallery.entry import EntryFields
from safelight.gallery.tables import details, entries, tags
from safelight.moderation.policy import Decision
from safelight.settings import Settings


@pytest.fixture
def folder(database_settings: Settings) -> Path:
    return database_settings.home / "gallery"


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_all_fields_of_an_entry_are_returned(gallery: Gallery, folder: Path):
    new = new_entry(favourite=True, tags=("warm", "best", "warm"), index=3)
    entry = gallery.add(new)
    assert gallery.get(entry.id, "anna") == gallery.find("job-0", 3) == entry
    assert all(getattr(entry, field.name) == getattr(new, field.name) for field in fields(EntryFields))
    assert new.data is not None
    assert (entry.size, entry.sha256) == (len(new.data), hashlib.sha256(new.data).hexdigest())
    assert (entry.kind, entry.missing, entry.favourite, entry.tags) == ("png", False, True, ("best", "warm"))
    assert files(folder) == [f"2026/11/24/{entry.id}.png"]
    assert gallery.read(entry.id, "anna") == new.data
    assert entry.to_dict()["created"] == "2026-11-24T12:00:00+00:00"


def test_unknown_values_stay_unknown(gallery: Gallery):
    new = NewEntry(
        job_id="upscale",
        created=NOON,
        width=8,
        height=8,
        decision=Decision.REVIEW,
        data=make_image_file(None),
    )
    entry = gallery.add(new)
    assert all(getattr(entry, field.name) == getattr(new, field.name) for field in fields(EntryFields))
    assert gallery.embedding(entry.id, "ab" * 32) is None


@pytest.mark.parametrize(("kind", "suffix"), [("jpeg", "jpg"), ("webp", "webp")])
def test_other_formats(gallery: Gallery, folder: Path, kind: FileFormat, suffix: str):
    entry = gallery.add(new_entry(data=make_image_file(make_record("x"), kind)))
    assert entry.kind == kind
    assert files(folder) == [f"2026/11/24/{entry.id}.{suffix}"]


@pytest.mark.parametrize(("data", "error"), [(b"", ImageError), (b"GIF89a" * 9, GalleryError)])
def test_a_file_that_is_no_image_is_refused(
    gallery: Gallery, folder: Path, data: bytes, error: type[SafelightError]
):
    with pytest.raises(error):
        gallery.add(new_entry(data=data))
    assert files(folder) == []
    assert gallery.find("job-0", 0) is None


def test_adding_again_changes_nothing(gallery: Gallery, folder: Path):
    first = gallery.add(new_entry())
    again = gallery.add(new_entry(prompt="another", created=NOON + timedelta(days=1)))
    assert again == first
    assert gallery.read(first.id) == new_entry().data
    assert files(folder) == [f"2026/11/24/{first.id}.png"]


def test_the_images_of_a_job_are_separate_entries(gallery: Gallery):
    names = {gallery.add(new_entry(number, index=index)).id for number in (1, 2) for index in (0, 1)}
    assert len(names) == 4
    assert len({name[:9] for name in names}) == 1


def test_the_same_image_from_many_threads_at_once(gallery: Gallery, folder: Path):
    """As when a job was given to a second worker while the first one is still alive."""
    found, start = [], threading.Barrier(6)

    def add(number: int) -> None:
        start.wait()
        found.append(
            gallery.add(
                new_entry(
                    prompt=f"try {number}", job_id="job", data=make_image_file(make_record(f"try {number}"))
                )
            )
        )

    threads = [threading.Thread(target=add, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len({entry.id for entry in found}) == 1
    (only,) = gallery.search(Search()).entries
    assert hashlib.sha256(gallery.read(only.id)).hexdigest() == only.sha256
    assert files(folder) == [f"2026/11/24/{only.id}.png"]


def test_blocked_images_are_recorded_without_a_file(gallery: Gallery, folder: Path):
    entry = gallery.add(new_entry(decision=Decision.BLOCK, unsafe=0.99))
    assert (entry.decision, entry.unsafe, entry.path, entry.sha256) == (Decision.BLOCK, 0.99, None, None)
    assert files(folder) == []
    look: Callable[[str], object]
    for look in (gallery.read, gallery.thumbnail):
        with pytest.raises(BlockedError):
            look(entry.id)
    gallery.delete(entry.id)


@pytest.mark.parametrize("change", [{"data": None}, {"decision": Decision.BLOCK, "data": b"pixels"}])
def test_pixels_of_a_blocked_image_are_refused(change: dict[str, Any]):
    with pytest.raises(ValueError, match="blocked"):
        new_entry(**change)


def test_characters_that_databases_cannot_store(gallery: Gallery):
    entry = gallery.add(
        new_entry(prompt="nul \0 half \ud800 apple", owner="o\0", tags=("\0",), decision=Decision.BLOCK)
    )
    assert entry.prompt == "nul \ufffd half ? apple"
    assert gallery.get(entry.id, "o\0") == entry
    assert gallery.search(Search(query="apple half")).entries == (entry,)


def test_a_very_long_prompt(gallery: Gallery):
    prompt = " ".join(f"word{number}" for number in range(60_000))
    entry = gallery.add(new_entry(prompt=prompt, decision=Decision.BLOCK))
    assert gallery.get(entry.id).prompt == prompt
    assert gallery.search(Search(query="word3999")).entries == (entry,)


def test_entries_of_other_owners_are_not_found(gallery: Gallery):
    entry = gallery.add(new_entry())
    looks: list[Callable[[str, str | None], object]] = [
        gallery.get,
        gallery.read,
        lambda name, owner: gallery.embedding(name, "ab" * 32, owner),
        gallery.delete,
        lambda name, owner: gallery.thumbnail(name, owner=owner),
        lambda name, owner: gallery.annotate(name, owner, favourite=True),
    ]
    for look in looks:
        with pytest.raises(EntryMissingError) as theirs:
            look(entry.id, "ben")
        with pytest.raises(EntryMissingError) as nobodys:
            look(entry.id[:-1] + "0", "anna")
        assert theirs.value.to_dict() == nobodys.value.to_dict()
        assert theirs.value.http_status == 404
    assert gallery.get(entry.id, "anna") == gallery.get(entry.id, None) == entry


@pytest.mark.parametrize("name", ["", "x", "../../../etc/passwd", "0" * 22, "é" * 22, "a\0b"])
def test_invalid_ids(gallery: Gallery, name: str):
    with pytest.raises(EntryMissingError):
        gallery.get(name)


def test_deleting_an_entry_deletes_all_of_its_data(
    gallery: Gallery, engine: Engine, folder: Path, database_settings: Settings
):
    entry, other = gallery.add(new_entry(1, tags=("x",))), gallery.add(new_entry(2, tags=("x",)))
    gallery.thumbnail(entry.id)
    gallery.delete(entry.id, "anna")
    gallery.delete(gallery.add(new_entry(3)).id, "anna")
    assert files(folder) == [f"2026/11/24/{other.id}.png"]
    assert files(database_settings.home / "cache") == []
    with read_transaction(engine) as connection:
        for table in (entries, details, tags):
            assert len(connection.execute(select(table.c.number)).all()) == 1
        assert connection.execute(text("SELECT count(*) FROM entry_words")).scalar() == 1
    for missing in (gallery.get, gallery.delete):
        with pytest.raises(EntryMissingError):
            missing(entry.id)
    assert gallery.add(new_entry(1)).id == entry.id


def test_an_entry_whose_file_cannot_be_deleted_stays(gallery: Gallery, folder: Path):
    entry = gallery.add(new_entry())
    path = folder / str(entry.path)
    path.unlink()
    path.mkdir()  # which unlink refuses
    with pytest.raises(OutputError):
        gallery.delete(entry.id)
    assert gallery.get(entry.id) == entry


def test_a_missing_file(gallery: Gallery, folder: Path, database_settings: Settings):
    entry = gallery.add(new_entry())
    gallery.thumbnail(entry.id)
    (folder / str(entry.path)).unlink()
    for look in (gallery.read, gallery.thumbnail):
        with pytest.raises(EntryFileMissingError):
            look(entry.id)
    assert files(database_settings.home / "cache") == []
    gallery.delete(entry.id)


def test_thumbnails(gallery: Gallery):
    entry = gallery.add(new_entry())
    assert gallery.thumbnail(entry.id, 16, "anna").startswith(b"RIFF")
    with pytest.raises(GalleryError):
        gallery.thumbnail(entry.id, 5000)


def test_favourites_and_tags(gallery: Gallery):
    entry = gallery.add(new_entry(tags=("old",)))
    marked = gallery.annotate(entry.id, "anna", favourite=True, tags=[" new ", "newer", "new"])
    assert (marked.favourite, marked.tags) == (True, ("new", "newer"))
    assert gallery.annotate(entry.id, tags=[]) == replace(marked, tags=())
    assert gallery.annotate(entry.id, favourite=False) == replace(entry, tags=())


@pytest.mark.parametrize("wrong", [[""], ["  "], ["x" * 65], ["\0"], [str(number) for number in range(51)]])
def test_invalid_tags(gallery: Gallery, wrong: list[str]):
    entry = gallery.add(new_entry(tags=("old",)))
    with pytest.raises(GalleryError):
        gallery.annotate(entry.id, favourite=True, tags=wrong)
    assert gallery.get(entry.id) == entry


def test_expiry_keeps_favourites_and_newer_entries(gallery: Gallery, folder: Path):
    for number in range(5):
        gallery.add(new_entry(number, created=NOON + timedelta(hours=number), favourite=number == 1))
    gallery.add(new_entry(5, created=NOON, decision=Decision.BLOCK))
    assert gallery.expire(NOON + timedelta(hours=3)) == 3
    assert gallery.expire(NOON + timedelta(hours=3)) == 0
    assert [entry.seed for entry in gallery.search(Search()).entries] == [4, 3, 1]
    assert len(files(folder)) == 3


def test_expiry_of_more_than_a_batch(gallery: Gallery, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("safelight.gallery.gallery._EXPIRE_BATCH", 3)
    for number in range(8):
        gallery.add(new_entry(number, decision=Decision.BLOCK))
    assert gallery.expire(datetime.now(UTC) + timedelta(days=10_000)) == 8


def test_a_failed_commit_leaves_at_most_a_file(gallery: Gallery, engine: Engine, folder: Path):
    def fail(_: object) -> None:
        if files(folder):  # not where it only reads
            raise KeyboardInterrupt

    event.listen(engine, "commit", fail)
    with pytest.raises(KeyboardInterrupt):
        gallery.add(new_entry())
    event.remove(engine, "commit", fail)
    assert gallery.find("job-0", 0) is None
    (left,) = files(folder)
    entry = gallery.add(new_entry())
    assert files(folder) == [left] == [str(entry.path)]
