from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from safelight.errors import CheckpointMissingError
from safelight.models.checkpoints.discovery import find_checkpoint, find_checkpoints, find_path
from safelight.models.checkpoints.folder_walk import WEIGHTS_SUFFIXES, list_folders, walk_weights

LONG_AGO = 1_700_000_000


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def settle(root: Path) -> None:
    """Make all folders look as if they had not changed for long."""
    for place, _, _ in os.walk(root):
        os.utime(place, (LONG_AGO, LONG_AGO))


def walk(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in walk_weights(root, WEIGHTS_SUFFIXES)]


def test_what_is_listed(tmp_path: Path) -> None:
    write(
        tmp_path,
        "b.safetensors",
        "a.CKPT",
        "notes.txt",
        ".hidden.pt",
        ".git/x.pt",
        "deep/er/c.gguf",
        "dots.pt/d.bin",
    )
    write(tmp_path, "sd/model_index.json", "sd/unet/x.safetensors")
    write(tmp_path, "venv/pyvenv.cfg", "venv/lib/x.pth", "node_modules/x.bin")
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "linked.safetensors").symlink_to(tmp_path / "b.safetensors")
    expected = ["a.CKPT", "b.safetensors", "linked.safetensors", "deep/er/c.gguf", "dots.pt/d.bin", "sd"]
    assert walk(tmp_path) == expected
    settle(tmp_path)
    assert walk(tmp_path) == walk(tmp_path) == expected
    assert walk_weights(tmp_path, {".gguf"}) == (tmp_path / "deep" / "er" / "c.gguf", tmp_path / "sd")
    assert walk_weights(tmp_path / "none", WEIGHTS_SUFFIXES) == ()
    assert walk_weights(tmp_path / "sd", WEIGHTS_SUFFIXES) == (tmp_path / "sd",)


def test_only_folders_that_changed_are_read_again(tmp_path: Path) -> None:
    write(tmp_path, "a/x.pt", "b/y.pt")
    settle(tmp_path)
    first = list_folders(tmp_path)
    assert list_folders(tmp_path) == first
    write(tmp_path, "b/z.pt")
    second = list_folders(tmp_path)
    assert [new is old for new, old in zip(second, first, strict=True)] == [True, True, False]
    assert walk(tmp_path) == ["a/x.pt", "b/y.pt", "b/z.pt"]
    (tmp_path / "a" / "x.pt").unlink()
    assert walk(tmp_path) == ["b/y.pt", "b/z.pt"]


def test_a_second_change_within_one_tick_of_the_clock_is_seen(tmp_path: Path) -> None:
    now = time.time()
    for number in range(3):
        write(tmp_path, f"{number}.pt")
        os.utime(tmp_path, (now, now))
        assert len(walk(tmp_path)) == number + 1


def test_a_link_to_a_drive_that_comes_back(tmp_path: Path) -> None:
    drive = tmp_path / "drive"
    write(drive, "x.pt")
    models = tmp_path / "models"
    models.mkdir()
    (models / "usb").symlink_to(drive)
    drive.rename(tmp_path / "away")
    settle(models)
    assert walk(models) == []
    (tmp_path / "away").rename(drive)
    assert walk(models) == ["usb/x.pt"]


def test_names_follow_changes(tmp_path: Path) -> None:
    """Also when a name was looked up just before, which is remembered for a moment while its file is there."""
    home, folder = tmp_path / "home", tmp_path / "other"
    write(folder, "a.safetensors")
    settle(folder)
    assert (
        find_path("a", home, [folder])
        == find_path("a.safetensors", home, [folder])
        == folder / "a.safetensors"
    )
    assert find_path("b", home, [folder]) is None
    write(folder, "b.safetensors")
    assert find_path("b", home, [folder]) == folder / "b.safetensors"
    (folder / "a.safetensors").unlink()
    assert find_path("a", home, [folder]) is None


def test_a_model_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "drive"
    problems: list[tuple[Path, str]] = []
    found = find_checkpoints(
        tmp_path, lambda path, error: problems.append((path, error.message)), folders=[folder]
    )
    assert [each.name for each in found] == ["starter"]
    assert problems == [(folder, f"The folder {folder} of model_folders is not there.")]
    with pytest.raises(CheckpointMissingError) as caught:
        find_checkpoint("a", tmp_path, folders=[folder])
    assert str(folder) in caught.value.hint
