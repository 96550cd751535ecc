from __future__ import annotations

from pathlib import Path

import pytest

from safelight.atomic_write import atomic_write, path_exists
from safelight.errors import OutputError


def test_a_file_appears_whole(tmp_path: Path):
    path = tmp_path / "deep" / "file.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("all of it")
        assert not path.exists()
    assert path.read_text() == "all of it"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_a_failed_write_leaves_no_temporary_file_and_keeps_the_old_file(tmp_path: Path):
    path = tmp_path / "file.txt"
    path.write_text("before")

    def fail_halfway() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_a_folder_that_cannot_be_created(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"), atomic_write(tmp_path / "file" / "x"):
        pytest.fail("the block must not be entered")


def test_impossible_names_are_missing_files(tmp_path: Path):
    assert path_exists(tmp_path)
    assert not path_exists(tmp_path / "nothing")
    assert not path_exists(tmp_path / ("x" * 300))


def test_two_writers_of_one_file_do_not_interfere(tmp_path: Path):
    path = tmp_path / "file.txt"
    with atomic_write(path) as first, atomic_write(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the outer one finishes last
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]
