"""Compiled forms on disk: whole or not there, made again when damaged, pruned by size."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from safelight.errors import BackendError
from safelight.runtime.compile_cache import CompileCache, FormKey

BYTES = 1000


def key(signature: str = "forward 2x4x8x8", **fields: Any) -> FormKey:
    usual = {"digest": "0" * 64, "dtype": "fp32", "patches": (), "backend": "openvino", "package": "openvino"}
    return FormKey(**usual | {"signature": signature} | fields)


def make(folder: Path) -> tuple[Any, dict[str, Any]]:
    (folder / "weights").write_bytes(os.urandom(BYTES))
    return {"tensor": ["float32", [2]]}, {"plan": "openvino fp32"}


@pytest.fixture
def cache(tmp_path: Path) -> CompileCache:
    return CompileCache(tmp_path / "compiled", 10**9)


def test_a_form_is_found_with_what_was_written(cache: CompileCache) -> None:
    assert cache.find(key()) is None
    written = cache.write(key(), make)
    assert cache.find(key()) == written
    assert written.result == {"tensor": ["float32", [2]]}
    assert (written.folder / "weights").stat().st_size == BYTES
    assert cache.count == 1
    assert cache.nbytes > BYTES


@pytest.mark.parametrize(
    "other",
    [
        {"digest": "1" * 64},
        {"dtype": "bf16"},
        {"patches": ("lora 0.8",)},
        {"signature": "forward 2x4x16x16"},
        {"backend": "onnxruntime"},
        {"package": "numpy"},
    ],
)
def test_whatever_changes_a_form_makes_another_one(cache: CompileCache, other: dict[str, Any]) -> None:
    cache.write(key(), make)
    assert cache.find(key(**other)) is None


def test_a_form_of_another_version_of_the_engine_is_not_found(
    cache: CompileCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write(key(), make)
    monkeypatch.setattr("safelight.runtime.compile_cache.package_version", lambda _: "0.1")
    assert cache.find(key()) is None


@pytest.mark.parametrize("damage", ["shorter", "changed", "missing", "about", "folder"])
def test_a_damaged_form_is_made_again(cache: CompileCache, damage: str) -> None:
    folder = cache.write(key(), make).folder
    weights = folder / "weights"
    if damage == "shorter":
        os.truncate(weights, BYTES - 1)
    elif damage == "changed":
        weights.write_bytes(bytes(BYTES))
    elif damage == "missing":
        weights.unlink()
    elif damage == "about":
        (folder / "form.json").write_text('{"key": 1')
    else:
        shutil.rmtree(folder)
        folder.mkdir()
    assert cache.find(key()) is None
    assert cache.write(key(), make).folder == folder
    assert cache.find(key()) is not None


def test_a_copied_cache_is_still_valid(cache: CompileCache, tmp_path: Path) -> None:
    cache.write(key(), make)
    shutil.copytree(cache.folder, tmp_path / "copy", copy_function=shutil.copyfile)
    assert CompileCache(tmp_path / "copy", 10**9).find(key()) is not None


def test_a_form_that_cannot_be_made_leaves_nothing(cache: CompileCache) -> None:
    def fail(folder: Path) -> tuple[Any, dict[str, Any]]:
        make(folder)
        raise BackendError("no")

    with pytest.raises(BackendError, match="no"):
        cache.write(key(), fail)
    assert cache.count == 0
    assert not [path for path in cache.folder.iterdir() if path.suffix == ".tmp"]


def test_of_two_that_make_the_same_form_one_waits_for_the_other(cache: CompileCache) -> None:
    made: list[Path] = []
    both = Barrier(2)

    def slowly(folder: Path) -> tuple[Any, dict[str, Any]]:
        made.append(folder)
        return make(folder)

    def ask(_: int) -> Path:
        both.wait(30)
        return cache.write(key(), slowly).folder

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(ask, range(2))
    assert first == second
    assert len(made) == 1


def test_the_least_recently_used_forms_are_deleted_beyond_the_limit(tmp_path: Path) -> None:
    cache = CompileCache(tmp_path, 10**9)
    folders = [cache.write(key(name), make).folder for name in ("a", "b", "c")]
    for age, folder in enumerate(folders):
        os.utime(folder / "form.json", (1000 + age, 1000 + age))
    assert cache.find(key("a")) is not None  # the most recent one now
    size = cache.nbytes // 3
    smaller = CompileCache(tmp_path, 3 * size + size // 2)
    smaller.write(key("d"), make)
    assert [smaller.find(key(name)) is not None for name in ("a", "b", "c", "d")] == [True, False, True, True]


def test_the_form_that_was_just_made_stays_however_small_the_limit(tmp_path: Path) -> None:
    cache = CompileCache(tmp_path, 1)
    cache.write(key("a"), make)
    cache.write(key("b"), make)
    assert cache.find(key("a")) is None
    assert cache.find(key("b")) is not None


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "compiled").write_text("a file")
    with pytest.raises(BackendError, match="cannot be written"):
        CompileCache(tmp_path / "compiled", 10**9).write(key(), make)


def test_what_an_ended_process_left_behind_is_deleted(cache: CompileCache) -> None:
    cache.write(key("a"), make)
    left, recent = cache.folder / ".a.1.tmp", cache.folder / ".b.2.tmp"
    for folder in (left, recent):
        folder.mkdir()
        make(folder)
    os.utime(left, (1000, 1000))
    cache.prune()
    assert (left.exists(), recent.exists()) == (False, True)
    assert cache.count == 1
