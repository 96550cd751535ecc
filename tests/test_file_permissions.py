from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from safelight.file_permissions import (
    create_private_file,
    create_private_folder,
    private_opener,
    remove_others_permissions,
)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="modes say nothing there")


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """Set a umask that gives everybody every permission."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_created_folders_are_private_and_existing_ones_unchanged(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    create_private_folder(tmp_path / "mine" / "a" / "b")
    assert [mode(tmp_path / name) for name in ("mine", "mine/a", "mine/a/b")] == [0o777, 0o700, 0o700]
    create_private_folder(tmp_path / "mine" / "a" / "b")


def test_created_files_are_private_and_existing_ones_unchanged(tmp_path: Path) -> None:
    create_private_file(tmp_path / "new")
    (tmp_path / "old").write_text("kept")
    create_private_file(tmp_path / "old")
    with open(tmp_path / "opened", "xb", opener=private_opener) as file:
        file.write(b"x")
    assert [mode(tmp_path / name) for name in ("new", "old", "opened")] == [0o600, 0o666, 0o600]
    assert (tmp_path / "old").read_text() == "kept"


def home_of(folder: Path) -> Path:
    for name in (
        "gallery/2026/01/02/a.png",
        "safelight.db",
        "safelight.db-wal",
        "audit.log.1",
        "mine/notes.txt",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def test_open_permissions_are_restricted_with_one_notice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home, elsewhere = home_of(tmp_path / "home"), tmp_path / "elsewhere.db"
    elsewhere.touch()
    (home / "gallery" / "link").symlink_to(home / "mine" / "notes.txt")
    (home / "gallery" / "2026" / "run").touch(0o777)
    closed = remove_others_permissions(home, elsewhere, tmp_path / "not there")
    assert closed == 11
    (record,) = caplog.records
    assert record.getMessage() == "others could read the data directory"
    assert record.fields["closed"] == 11  # type: ignore[attr-defined]
    for path in (home, home / "gallery" / "2026" / "01" / "02", home / "gallery"):
        assert mode(path) == 0o700
    for path in (
        home / "gallery/2026/01/02/a.png",
        home / "safelight.db-wal",
        home / "audit.log.1",
        elsewhere,
    ):
        assert mode(path) == 0o600
    assert mode(home / "gallery" / "2026" / "run") == 0o700  # the owner's permissions stay
    assert [mode(home / "mine"), mode(home / "mine" / "notes.txt")] == [0o777, 0o666]  # not Safelight's file
    assert remove_others_permissions(home, elsewhere) == 0
    assert caplog.records == [record]


def test_files_inside_a_private_folder_are_not_all_checked(tmp_path: Path) -> None:
    home = home_of(tmp_path / "home")
    home.chmod(0o700)
    assert remove_others_permissions(home) == 4  # the gallery's folder and the files beside it
    assert mode(home / "gallery/2026/01/02/a.png") == 0o666


def test_permissions_that_cannot_be_changed_are_reported_and_not_fatal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    home = home_of(tmp_path / "home")
    monkeypatch.setattr(Path, "chmod", refuse)
    assert remove_others_permissions(home) == 0
    assert caplog.records[0].fields["still_open"] == 9  # type: ignore[attr-defined]
