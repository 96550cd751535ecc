from __future__ import annotations

import errno
import os
import time
from datetime import timedelta
from pathlib import Path, PurePosixPath

import pytest
from tests.gallery.conftest import NOON

from safelight.errors import EntryFileMissingError, OutputError, StorageFullError
from safelight.gallery.entry_ids import make_entry_id, make_entry_key
from safelight.gallery.files import ImageFolder

NAME = make_entry_id(NOON, make_entry_key("job", 0))
PLACE = PurePosixPath(f"2026/11/24/{NAME}.png")


@pytest.fixture
def folder(tmp_path: Path) -> ImageFolder:
    return ImageFolder(tmp_path / "gallery")


def all_files(tmp_path: Path) -> list[str]:
    return [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]


def test_a_file_appears_when_it_is_placed(folder: ImageFolder, tmp_path: Path):
    with folder.staged(b"pixels") as place:
        assert not folder.exists(PLACE)
        place(PLACE)
        assert folder.read(PLACE) == b"pixels"
    assert all_files(tmp_path) == [f"gallery/{PLACE}"]
    assert list(folder.iter_paths()) == [PLACE]


def test_a_file_that_is_not_placed_leaves_nothing(folder: ImageFolder, tmp_path: Path):
    with folder.staged(b"pixels"):
        assert len(all_files(tmp_path)) == 1
    with folder.staged(None) as place:
        place(PLACE)
    assert all_files(tmp_path) == []


def test_removing_a_file_and_a_missing_one(folder: ImageFolder):
    folder.remove(PLACE)
    with pytest.raises(EntryFileMissingError) as caught:
        folder.read(PLACE)
    assert caught.value.http_status == 410


def test_only_files_named_by_entry_ids_count(folder: ImageFolder, tmp_path: Path):
    day = tmp_path / "gallery" / "2026" / "11" / "24"
    day.mkdir(parents=True)
    for name in ("notes.txt", f".{NAME}.png.tmp", f"{NAME[:-1]}.png", f"{NAME}.png"):
        (day / name).touch()
    (day / f"{NAME[:-1]}0.png").mkdir()
    assert list(folder.iter_paths()) == [PLACE]


def test_a_full_disk(folder: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFullError), folder.staged(b"pixels"):
        pytest.fail("there is nothing to place")
    assert all_files(tmp_path) == []


def test_an_impossible_folder(tmp_path: Path):
    (tmp_path / "gallery").touch()
    with pytest.raises(OutputError), ImageFolder(tmp_path / "gallery").staged(b"pixels"):
        pytest.fail("there is nothing to place")


def test_an_impossible_day_folder(folder: ImageFolder, tmp_path: Path):
    with folder.staged(b"pixels") as place:
        (tmp_path / "gallery" / "2026").touch()
        with pytest.raises(OutputError):
            place(PLACE)
    assert all_files(tmp_path) == ["gallery/2026"]


def test_abandoned_files_are_deleted_once_they_are_old(folder: ImageFolder, tmp_path: Path):
    coming = tmp_path / "gallery" / "coming"
    coming.mkdir(parents=True)
    (coming / ".picture.0.tmp").touch()
    assert folder.delete_abandoned(timedelta(hours=1), time.time()) == 0
    assert folder.delete_abandoned(timedelta(0), time.time()) == 1
    assert all_files(tmp_path) == []
