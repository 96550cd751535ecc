"""The pool keeps components of other devices within limits of their own, beside its budget."""

from __future__ import annotations

import threading

import pytest

from safelight.errors import MemoryBudgetError
from safelight.runtime.component import Component, ComponentKey, ComponentSource
from safelight.runtime.pool import ModelPool


def source(name: str, nbytes: int, device: str = "cpu") -> ComponentSource:
    key = ComponentKey(name, "fp32", device=device)
    return ComponentSource(key, nbytes, lambda: Component(key, object(), nbytes))


def make_pool() -> ModelPool:
    pool = ModelPool(10)
    pool.budgets_elsewhere["cpu"] = 100
    return pool


def names(pool: ModelPool) -> list[str]:
    return [key.digest for key in pool.keys]


def test_what_is_elsewhere_does_not_count_in_the_budget() -> None:
    pool = make_pool()
    with pool.lease([source("t5", 90), source("unet", 8, "")], room=2):
        assert pool.loaded_bytes == 8
        assert pool.bytes_elsewhere("cpu") == 90
        assert not pool.has_room(1)
    assert pool.idle_bytes == 8
    pool.load(source("vae", 9, ""))
    assert names(pool) == ["t5", "vae"]  # the denoiser made room, and not what would have made none


def test_idle_ones_make_room_on_their_own_device() -> None:
    pool = make_pool()
    pool.load(source("first", 60), source("unet", 8, ""))
    pool.load(source("second", 60))
    assert names(pool) == ["unet", "second"]
    with pytest.raises(MemoryBudgetError, match="networks on cpu need"):
        pool.load(source("huge", 101))


def test_what_others_use_is_waited_for() -> None:
    pool, loaded = make_pool(), threading.Event()
    with pool.lease([source("first", 60)]):
        with pytest.raises(MemoryBudgetError):
            pool.load(source("second", 60), wait=False)
        thread = threading.Thread(target=lambda: (pool.load(source("second", 60)), loaded.set()))
        thread.start()
        while not pool.has_waiters:
            threading.Event().wait(0.001)
        assert not loaded.is_set()
    thread.join()
    assert names(pool) == ["second"]


def test_a_reservation_is_not_used_up_by_what_is_elsewhere() -> None:
    pool = make_pool()
    with pool.reserve(10) as reservation, reservation.lease(source("t5", 90)):
        assert pool.bytes_elsewhere("cpu") == 90
        with reservation.lease(source("unet", 10, "")):
            assert names(pool) == ["t5", "unet"]
