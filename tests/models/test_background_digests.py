"""Digests in the background: complete, once, paused while pictures are generated, shared by processes."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from safelight.file_locks import FileLock
from safelight.models import background_digests
from safelight.models.background_digests import BackgroundDigests
from safelight.models.checkpoints.discovery import find_checkpoint
from safelight.models.digests import cached_digest, remember_digest
from safelight.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", model_folders=(tmp_path / "other",), hash_models=True)


@pytest.fixture
def start() -> Iterator[Callable[..., BackgroundDigests]]:
    started = []

    def run(settings: Settings, is_busy: Callable[[], bool] = lambda: False) -> BackgroundDigests:
        digests = BackgroundDigests(settings, is_busy, scan_interval=0.02, start_delay=0, settled_seconds=0)
        digests.start()
        started.append(digests)
        return digests

    yield run
    for digests in started:
        digests.stop()


def write_lora(path: Path, value: float = 0.0) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"lora_unet_x_attn2_to_k.lora_down.weight": torch.full((4, 768), value)}, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_every_file_gets_its_digest_also_new_ones(
    settings: Settings, start: Callable[..., BackgroundDigests], tmp_path: Path
) -> None:
    first, second = settings.home / "loras" / "a.safetensors", tmp_path / "other" / "deep" / "b.safetensors"
    expected = write_lora(first)
    start(settings)
    wait_for(lambda: cached_digest(first, settings.cache_folder) == expected)
    starter = find_checkpoint("starter", settings.home)
    wait_for(lambda: starter.cached_digest(settings.cache_folder))
    later = write_lora(second, 1.0)
    wait_for(lambda: cached_digest(second, settings.cache_folder) == later)
    changed = write_lora(first, 2.0)
    wait_for(lambda: cached_digest(first, settings.cache_folder) == changed)


def test_it_pauses_while_pictures_are_generated_and_stops_at_once(
    settings: Settings, start: Callable[..., BackgroundDigests]
) -> None:
    path = settings.home / "loras" / "a.safetensors"
    write_lora(path)
    asked, busy = threading.Event(), threading.Event()
    busy.set()

    def is_busy() -> bool:
        asked.set()
        return busy.is_set()

    digests = start(settings, is_busy)
    assert asked.wait(20)
    began = time.monotonic()
    digests.stop()
    assert time.monotonic() - began < 5
    assert not list((settings.cache_folder / "digests").glob("*.json"))
    busy.clear()
    start(settings, is_busy)
    wait_for(lambda: cached_digest(path, settings.cache_folder))


def test_one_process_at_a_time_computes_and_none_twice(
    settings: Settings, start: Callable[..., BackgroundDigests], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = settings.home / "loras" / "a.safetensors"
    write_lora(path)
    computed: list[Path] = []

    def record(path: Path, digest: str, cache: Path) -> None:
        computed.append(path)
        remember_digest(path, digest, cache)

    monkeypatch.setattr(background_digests, "remember_digest", record)
    (settings.cache_folder / "digests").mkdir(parents=True)
    other = FileLock(settings.cache_folder / "digests" / ".computing")
    assert other.acquire("another process")
    looked = threading.Event()
    waiting = start(settings, lambda: bool(looked.set()))
    time.sleep(0.1)
    assert not looked.is_set()
    waiting.stop()
    other.release()
    for _ in range(3):
        start(settings)
    wait_for(lambda: cached_digest(path, settings.cache_folder))
    wait_for(lambda: find_checkpoint("starter", settings.home).cached_digest(settings.cache_folder))
    assert path in computed
    assert len(computed) == len(set(computed))


def test_a_file_that_is_still_written_is_left_for_later(settings: Settings) -> None:
    path = settings.home / "loras" / "a.safetensors"
    write_lora(path)
    digests = BackgroundDigests(settings, lambda: False)
    assert not digests._is_missing(path)
    os.utime(path, (1, 1))
    assert digests._is_missing(path)
    path.unlink()
    assert not digests._is_missing(path)


def test_the_setting_turns_it_off(settings: Settings, start: Callable[..., BackgroundDigests]) -> None:
    digests = start(settings.model_copy(update={"hash_models": False}), lambda: pytest.fail("it runs"))
    assert not digests._thread.is_alive()
