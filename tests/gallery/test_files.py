from __future__ import annotations

import errno
import os
import time
from datetime import timedelta
from pathlib import Path, PurePosixPath

import pytest
from tests.gallery.conftest import NOON

from safelight.errors import EntryFileMissingError, OutputError, StorageFullError
from safelight.gallery.entry_ids import entry_id, entry_key
from safelight.gallery.files import PictureFolder

NAME = entry_id(NOON, entry_key("job", 0))
PLACE = PurePosixPath(f"2026/11/24/{NAME}.png")


@pytest.fixture
def folder(tmp_path: Path) -> PictureFolder:
    return PictureFolder(tmp_path / "gallery")


def all_files(tmp_path: Path) -> list[str]:
    return [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]


def test_a_file_appears_when_it_is_placed(folder: PictureFolder, tmp_path: Path):
    with folder.prepared(b"pixels") as place:
        assert not folder.has(PLACE)
        place(PLACE)
        assert folder.read(PLACE) == b"pixels"
    assert all_files(tmp_path) == [f"gallery/{PLACE}"]
    assert list(folder.all()) == [PLACE]


def test_a_file_that_is_not_placed_leaves_nothing(folder: PictureFolder, tmp_path: Path):
    with folder.prepared(b"pixels"):
        assert len(all_files(tmp_path)) == 1
    with folder.prepared(None) as place:
        place(PLACE)
    assert all_files(tmp_path) == []


def test_removing_a_file_and_a_missing_one(folder: PictureFolder):
    folder.remove(PLACE)
    with pytest.raises(EntryFileMissingError) as caught:
        folder.read(PLACE)
    assert caught.value.http_status == 410


def test_only_files_named_by_entry_ids_count(folder: PictureFolder, tmp_path: Path):
    day = tmp_path / "gallery" / "2026" / "11" / "24"
    day.mkdir(parents=True)
    for name in ("notes.txt", f".{NAME}.png.tmp", f"{NAME[:-1]}.png", f"{NAME}.png"):
        (day / name).touch()
    (day / f"{NAME[:-1]}0.png").mkdir()
    assert list(folder.all()) == [PLACE]


def test_a_full_disk(folder: PictureFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFullError), folder.prepared(b"pixels"):
        pytest.fail("there is nothing to place")
    assert all_files(tmp_path) == []


def test_an_impossible_folder(tmp_path: Path):
    (tmp_path / "gallery").touch()
    with pytest.raises(OutputError), PictureFolder(tmp_path / "gallery").prepared(b"pixels"):
        pytest.fail("there is nothing to place")


def test_an_impossible_day_folder(folder: PictureFolder, tmp_path: Path):
    with folder.prepared(b"pixels") as place:
        (tmp_path / "gallery" / "2026").touch()
        with pytest.raises(OutputError):
            place(PLACE)
    assert all_files(tmp_path) == ["gallery/2026"]


def test_abandoned_files_are_deleted_once_they_are_old(folder: PictureFolder, tmp_path: Path):
    coming = tmp_path / "gallery" / "coming"
    coming.mkdir(parents=True)
    (coming / ".picture.0.tmp").touch()
    assert folder.clear_abandoned(timedelta(hours=1), time.time()) == 0
    assert folder.clear_abandoned(timedelta(0), time.time()) == 1
    assert all_files(tmp_path) == []
