"""The pool of components: one budget, leases that wait, and no deadlock."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from weakref import WeakSet

import psutil
import pytest
import torch
from diffusers import UNet2DConditionModel

from safelight.errors import CheckpointInvalidError, MemoryBudgetError
from safelight.models.checkpoints.discovery import Checkpoint, describe_checkpoint
from safelight.models.checkpoints.loading import describe_parts
from safelight.runtime import pool as pool_module
from safelight.runtime.component import Component, ComponentKey, ComponentSource
from safelight.runtime.pool import ModelPool, release_freed_memory

Tiny = Callable[[str], Path]


@pytest.fixture(autouse=True)
def no_collecting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn garbage collection off; it takes longer than these tests' empty components are worth."""
    if "memory_released" not in request.fixturenames:
        monkeypatch.setattr(pool_module, "release_freed_memory", lambda: None)


@pytest.fixture
def memory_released() -> None:
    """Collect garbage as usual when components are evicted."""


class Loader:
    """Loads empty components of 100 bytes, and records their names and which of them are alive."""

    def __init__(self, nbytes: int = 100, seconds: float = 0.0) -> None:
        self.nbytes, self.seconds = nbytes, seconds
        self.loaded: list[str] = []
        self.alive: WeakSet[Component] = WeakSet()

    def __call__(self, key: ComponentKey) -> Component:
        self.loaded.append(key.digest)
        component = Component(key, None, self.nbytes)
        self.alive.add(component)
        time.sleep(self.seconds)
        return component


def sources(
    load: Callable[[ComponentKey], Component], names: str = "abc", estimate: int = 100
) -> list[ComponentSource]:
    """The sources of components that count as 100 bytes each, each named by one letter."""

    def source(name: str) -> ComponentSource:
        key = ComponentKey(name, "fp32")
        return ComponentSource(key, estimate, lambda: load(key))

    return [source(name) for name in names]


def names(pool: ModelPool) -> str:
    return "".join(key.digest for key in pool.keys)


def test_a_component_is_loaded_once() -> None:
    a, *_ = sources(loader := Loader())
    pool = ModelPool(300)
    assert pool.load(a) == pool.load(a)
    assert loader.loaded == ["a"]


def test_equal_keys_are_one_component() -> None:
    one, other = sources(loader := Loader(), "aa")
    pool = ModelPool(150)
    with pool.lease([one, other, one]) as (first, second, third):
        assert first is second is third
    assert (loader.loaded, names(pool)) == (["a"], "a")


def test_components_differ_by_any_part_of_their_key() -> None:
    keys = [
        ComponentKey("a", "fp32"),
        ComponentKey("b", "fp32"),
        ComponentKey("a", "bf16"),
        ComponentKey("a", "fp32", "openvino"),
        ComponentKey("a", "fp32", patches=("lora",)),
    ]
    pool = ModelPool(1000)
    pool.load(*(ComponentSource(key, 1, lambda key=key: Component(key, None, 1)) for key in keys))
    assert pool.keys == keys


def test_components_have_a_place_while_they_are_loaded() -> None:
    pool, seen = ModelPool(300), list[tuple[bool, bool]]()
    key = ComponentKey("a", "fp32")

    def load() -> Component:
        seen.append((pool.has_any([key]), key in pool.keys))
        return Component(key, None, 100)

    assert not pool.has_any([key])
    pool.load(ComponentSource(key, 100, load))
    assert seen == [(True, False)]
    assert pool.has_any([ComponentKey("b", "fp32"), key])
    pool.evict()
    assert not pool.has_any([key])


def test_the_least_recently_used_component_is_evicted() -> None:
    a, b, c = sources(Loader())
    pool = ModelPool(250)
    for source in (a, b, a, c):
        pool.load(source)
    assert names(pool) == "ac"


def test_components_of_one_lease_are_evicted_one_by_one() -> None:
    *checkpoint, other = sources(loader := Loader(), "abcd")
    pool = ModelPool(350)
    pool.load(*checkpoint)
    pool.load(other)
    assert names(pool) == "bcd"
    pool.load(*checkpoint)
    assert names(pool) == "abc"
    assert loader.loaded == ["a", "b", "c", "d", "a"]


def test_a_component_in_use_is_not_evicted() -> None:
    a, b, c = sources(Loader())
    pool = ModelPool(250)
    with pool.lease([a]):
        pool.load(b)
        pool.load(c)
        assert names(pool) == "ac"


def test_a_component_larger_than_the_budget_is_refused_before_it_is_loaded() -> None:
    a, *_ = sources(loader := Loader())
    with pytest.raises(MemoryBudgetError, match=r"need 0.00 GB, and the budget is"):
        ModelPool(50).load(a)
    assert loader.loaded == []


def test_components_that_never_fit_evict_nothing() -> None:
    a, b, c = sources(Loader())
    pool = ModelPool(250)
    pool.load(a, b)
    with pytest.raises(MemoryBudgetError, match="the budget is"):
        pool.load(a, b, c)
    assert names(pool) == "ab"


def test_a_component_that_turns_out_too_large_is_released() -> None:
    a, *_ = sources(Loader(nbytes=300))
    pool = ModelPool(250)
    with pytest.raises(MemoryBudgetError):
        pool.load(a)
    assert names(pool) == ""


def test_the_true_size_counts_once_it_is_known() -> None:
    a, b, _ = sources(Loader(nbytes=150))
    pool = ModelPool(250)
    pool.load(a)
    pool.load(b)
    assert names(pool) == "b"


def test_a_threads_own_leases_are_not_waited_for() -> None:
    a, b, _ = sources(Loader())
    pool = ModelPool(150)
    with pool.lease([a]), pytest.raises(MemoryBudgetError, match="beside those in use"), pool.lease([b]):
        pass
    pool.load(b)
    assert names(pool) == "b"


def test_what_a_thread_leases_twice_is_counted_once() -> None:
    a, b, c = sources(Loader())
    pool = ModelPool(300)
    release, ready = threading.Event(), threading.Event()

    def other() -> None:
        with pool.lease([c]):
            ready.set()
            assert release.wait(5)

    thread = threading.Thread(target=other)
    thread.start()
    assert ready.wait(5)
    with pool.lease([a]), pool.lease([a, b]):
        threading.Timer(0.05, release.set).start()
        with pool.lease([a], 100):  # waits for the other thread
            assert release.is_set()
    thread.join(5)


def test_leases_of_other_threads_are_waited_for() -> None:
    a, b, _ = sources(Loader())
    pool = ModelPool(150)
    order: list[str] = []

    def second() -> None:
        with pool.lease([b]):
            order.append("b drawn")

    with pool.lease([a]):
        thread = start_thread(second)
        order.append("a drawn")
    thread.join(5)
    assert order == ["a drawn", "b drawn"]


def test_concurrent_leases_are_not_evicted_for_each_other() -> None:
    a, b, c = sources(Loader())
    pool = ModelPool(250)
    pool.load(c)
    with pool.lease([a, b], 50) as (first, second):
        assert (first.key, second.key) == (a.key, b.key)
        assert names(pool) == "ab"
        with pytest.raises(MemoryBudgetError), pool.lease([c]):
            pass
    with pytest.raises(MemoryBudgetError), pool.lease([a, b], 51):
        pass
    pool.load(c)
    assert names(pool) == "bc"


def test_threads_that_need_two_do_not_deadlock_with_one_each() -> None:
    a, b, c = sources(Loader(seconds=0.01))
    pool = ModelPool(200)
    done: list[str] = []

    def use(wanted: list[ComponentSource]) -> None:
        for _ in range(5):
            with pool.lease(wanted) as components:
                done.append("".join(each.key.digest for each in components))

    run_threads([lambda pair=pair: use(pair) for pair in ([a, b], [b, c], [c, a])])
    assert sorted(done) == ["ab"] * 5 + ["bc"] * 5 + ["ca"] * 5


def test_two_threads_get_the_same_one() -> None:
    a, *_ = sources(loader := Loader(seconds=0.05))
    pool = ModelPool(300)
    got: list[Component] = []
    run_threads([lambda: got.extend(pool.load(a))] * 8)
    assert len(set(map(id, got))) == 1
    assert loader.loaded == ["a"]


def test_loading_one_does_not_block_another() -> None:
    release = threading.Event()

    def slow(key: ComponentKey) -> Component:
        if key.digest == "b":
            assert release.wait(5)
        return Component(key, None, 100)

    a, b, _ = sources(slow)
    pool = ModelPool(300)
    pool.load(a)
    thread = threading.Thread(target=lambda: pool.load(b))
    thread.start()
    assert pool.load(a)[0].key == a.key  # while b is still being loaded
    assert names(pool) == "a"
    release.set()
    thread.join(5)
    assert sorted(names(pool)) == ["a", "b"]


def test_a_failed_load_leaves_no_trace_and_keeps_what_was_loaded() -> None:
    def load(key: ComponentKey) -> Component:
        if key.digest == "b":
            raise CheckpointInvalidError("damaged")
        return Component(key, None, 100)

    pool = ModelPool(300)
    with pytest.raises(CheckpointInvalidError):
        pool.load(*sources(load))
    assert names(pool) == "a"


def test_a_thread_that_waited_for_a_failed_load_tries_again() -> None:
    failed, waiting = threading.Event(), threading.Event()

    def load(key: ComponentKey) -> Component:
        if not failed.is_set():
            assert waiting.wait(5)
            time.sleep(0.05)
            failed.set()
            raise CheckpointInvalidError("damaged")
        return Component(key, None, 100)

    a, *_ = sources(load)
    pool = ModelPool(150)
    got: list[Component] = []

    def second() -> None:
        waiting.set()
        got.extend(pool.load(a))

    thread = threading.Timer(0.02, second)
    thread.start()
    with pytest.raises(CheckpointInvalidError):
        pool.load(a)
    thread.join(5)
    assert (len(got), names(pool)) == (1, "a")


def test_evicting_keeps_components_in_use() -> None:
    a, b, c = sources(Loader())
    pool = ModelPool(300)
    pool.load(b, c)
    with pool.lease([a]):
        pool.evict({a.key, c.key})
        assert names(pool) == "ba"
        pool.evict()
        assert names(pool) == "a"
    pool.evict()
    assert names(pool) == ""


def test_many_threads_never_exceed_the_budget() -> None:
    three = sources(loader := Loader(seconds=0.001))
    pool = ModelPool(250)
    highest: list[int] = []

    def work(start: int) -> None:
        for turn in range(15):
            source = three[(start + turn) % 3]
            with pool.lease([source]):
                assert source.key in pool.keys
                highest.append(100 * len(loader.alive))

    run_threads([lambda start=start: work(start) for start in range(6)])
    assert len(highest) == 6 * 15
    assert max(highest) <= 250


# Reserved memory beside the weights


def start_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    time.sleep(0.05)
    return thread


def run_threads(works: Iterable[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=work, daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


def test_reserved_memory_is_taken_from_idle_components_and_released() -> None:
    a, b, c = sources(Loader())
    pool = ModelPool(300)
    for source in (a, b, c):
        pool.load(source)
    with pool.lease([a], 150):  # though it is the least recently used one itself
        assert names(pool) == "a"
    pool.load(b)
    pool.load(c)
    assert names(pool) == "abc"


def test_idle_components_make_room_where_less_than_the_budget_is_free() -> None:
    a, b, c = sources(Loader())
    pool = ModelPool(300)
    pool.load(a)
    with pool.lease([b], within=150):
        assert names(pool) == "b"
    with pool.reserve(100, within=150) as reservation:
        with reservation.lease(a):
            assert names(pool) == "a"
        with reservation.lease(c):
            assert names(pool) == "c"
    pool.load(a)
    assert pool.idle_bytes == pool.loaded_bytes == 100
    with pool.lease([a, b], within=150):  # what is in use stays
        assert (names(pool), pool.idle_bytes) == ("ab", 0)


def test_a_reservation_larger_than_the_budget() -> None:
    a, *_ = sources(Loader())
    pool = ModelPool(250)
    with pytest.raises(MemoryBudgetError), pool.lease([a], 151):
        pass
    with pytest.raises(MemoryBudgetError), pool.lease([a], 100), pool.lease([a], 51):
        pass
    with pool.lease([a], 100), pool.lease([a], 50):
        pass
    assert names(pool) == "a"


def test_two_leases_of_a_component_wait_for_each_others_reservation() -> None:
    a, *_ = sources(Loader())
    pool = ModelPool(250)
    order: list[str] = []

    def second() -> None:
        with pool.lease([a], 100):
            order.append("second")

    with pool.lease([a], 100):
        thread = start_thread(second)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


def test_a_thread_that_waits_for_memory_is_not_overtaken() -> None:
    a, b, _ = sources(Loader())
    pool = ModelPool(250)
    order: list[str] = []

    def use(source: ComponentSource, room: int, name: str) -> None:
        with pool.lease([source], room):
            order.append(name)

    with pool.lease([a], 50):
        large = start_thread(lambda: use(b, 100, "large"))
        small = start_thread(lambda: use(a, 10, "small"))  # which would fit now
        with pool.lease([a], 10):  # a thread that has a lease may get another of the same component
            order.append("own")
    for thread in (large, small):
        thread.join(5)
    assert order == ["own", "large", "small"]


def test_a_deadlock_is_an_error() -> None:
    """Two components turn out larger than they seemed, so that neither fits beside the other."""
    both, outcomes = threading.Barrier(2), list[str]()

    def load(key: ComponentKey) -> Component:
        if key.digest != "c":
            both.wait(10)
        return Component(key, None, 250)

    a, b, c = sources(load, estimate=50)
    pool = ModelPool(450)

    def use(source: ComponentSource) -> None:
        try:
            with pool.lease([source], 150):
                outcomes.append("drawn")
        except MemoryBudgetError:
            outcomes.append("refused")

    run_threads([lambda: use(a), lambda: use(b)])
    assert sorted(outcomes) == ["drawn", "refused"]
    with pool.lease([c], 150):
        assert names(pool) == "c"


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModelPool], threading.Event]:
    """An event of a pool: a thread waits for others."""

    def event_of(pool: ModelPool) -> threading.Event:
        event, wait = threading.Event(), pool._condition.wait

        def signal_and_wait() -> bool:
            event.set()
            return wait()

        monkeypatch.setattr(pool._condition, "wait", signal_and_wait)
        return event

    return event_of


def sized(
    name: str, nbytes: int, estimate: int | None = None, on_load: Callable[[], object] = lambda: None
) -> ComponentSource:
    """The source of a component of a size, which may differ from its estimate."""
    key = ComponentKey(name, "fp32")

    def load() -> Component:
        on_load()
        return Component(key, None, nbytes)

    return ComponentSource(key, estimate or nbytes, load)


@pytest.mark.parametrize("waits_first", ["for the load", "for memory"])
def test_a_deadlock_over_a_shared_component_is_an_error(
    waits_first: str, blocked: Callable[[ModelPool], threading.Event]
) -> None:
    """One thread loads a component that turns out too large beside the other's; the other waits for that load."""
    pool = ModelPool(100)
    waits, leased = blocked(pool), threading.Event()

    def on_load_b() -> None:
        leased.set()
        if waits_first == "for memory":
            assert waits.wait(5)

    def on_load_shared() -> None:
        assert leased.wait(5)
        if waits_first == "for the load":
            assert waits.wait(5)

    a, b = sized("a", 20), sized("b", 20, on_load=on_load_b)
    shared = sized("s", 50, 30, on_load=on_load_shared)
    outcomes: list[str] = []

    def use(*wanted: ComponentSource) -> None:
        try:
            with pool.lease(wanted, 10):
                outcomes.append("generated")
        except MemoryBudgetError:
            outcomes.append("refused")

    run_threads([lambda: use(a, shared), lambda: use(b, shared)])
    assert sorted(outcomes) == ["generated", "refused"]
    assert "s" in names(pool)


def test_what_is_in_memory_does_not_queue_behind_threads_that_wait_for_memory(
    blocked: Callable[[ModelPool], threading.Event],
) -> None:
    a, b, _ = sources(Loader())
    pool = ModelPool(250)
    waits = blocked(pool)

    def use_nothing() -> list[Component]:
        with pool.lease([], 10) as components:
            return components

    with ThreadPoolExecutor(2) as threads:
        with pool.lease([a], 100):
            waiter = threads.submit(pool.load, b)
            assert waits.wait(5)
            (component,) = threads.submit(pool.load, a).result(5)
            assert component.key == a.key
            assert threads.submit(use_nothing).result(5) == []
            assert not waiter.done()
        assert waiter.result(5)[0].key == b.key


@pytest.mark.parametrize("estimate", [20, 10])
def test_room_of_other_threads_beside_a_shared_component_is_waited_for(
    estimate: int, blocked: Callable[[ModelPool], threading.Event]
) -> None:
    """Whether a component does not fit from the start or turns out larger."""
    a, b = sized("a", 20), sized("b", 20, estimate)
    pool = ModelPool(100)
    waits, leased = blocked(pool), threading.Event()

    def other() -> None:
        with pool.lease([a], 40):
            leased.set()
            assert waits.wait(5)

    with ThreadPoolExecutor(1) as threads, pool.lease([a], 30):
        thread = threads.submit(other)
        assert leased.wait(5)
        with pool.lease([b]):
            assert names(pool) == "ab"
        thread.result(5)


def test_many_threads_with_reservations_never_exceed_the_budget() -> None:
    three = sources(loader := Loader(seconds=0.001))
    pool = ModelPool(360)
    room = 0
    highest: list[int] = []
    lock = threading.Lock()

    def work(start: int) -> None:
        nonlocal room
        for turn in range(15):
            wanted = 10 * ((start + turn) % 7)
            with pool.lease([three[(start * turn) % 3]], wanted):
                with lock:
                    room += wanted
                    highest.append(100 * len(loader.alive) + room)
                with lock:
                    room -= wanted

    run_threads([lambda start=start: work(start) for start in range(6)])
    assert len(highest) == 6 * 15
    assert max(highest) <= 360


# Real weights


def test_twenty_switches_leak_no_memory(tiny: Tiny, tmp_path: Path, memory_released: None) -> None:
    pair = [heavy_checkpoint(tiny, tmp_path / name, seed) for seed, name in enumerate("ab")]
    size = pair[0].size
    assert size > 30e6
    sources = [describe_parts(checkpoint).sources.values() for checkpoint in pair]
    pool = ModelPool(int(1.5 * size))
    process = psutil.Process()
    for turn in range(4):
        pool.load(*sources[turn % 2])
    release_freed_memory()
    before = process.memory_info().rss
    for turn in range(20):
        pool.load(*sources[turn % 2])
    release_freed_memory()
    after = process.memory_info().rss
    assert not {source.key for source in sources[0]} <= set(pool.keys)
    assert abs(after - before) < 0.05 * before
    pool.evict()
    assert process.memory_info().rss < after - 0.8 * size


def heavy_checkpoint(tiny: Tiny, folder: Path, seed: int) -> Checkpoint:
    """The tiny checkpoint with a U-Net of about thirty megabytes."""
    shutil.copytree(tiny("sd1"), folder)
    torch.manual_seed(seed)
    small = UNet2DConditionModel.load_config(folder / "unet")
    unet = UNet2DConditionModel.from_config(
        {**small, "block_out_channels": (128, 256), "layers_per_block": 1}
    )
    shutil.rmtree(folder / "unet")
    unet.save_pretrained(folder / "unet")
    return describe_checkpoint(folder, folder.name)


def test_the_estimate_stays_reserved_while_a_larger_component_waits_for_the_difference() -> None:
    """Its weights are in memory already: no other thread may get their bytes."""
    pool, holds, ends = ModelPool(100), threading.Event(), threading.Event()
    larger, seen = ComponentKey("larger", "fp32"), list[int]()

    def hold() -> None:
        key = ComponentKey("held", "fp32")
        with pool.lease([ComponentSource(key, 40, lambda: Component(key, None, 40))]):
            holds.set()
            assert ends.wait(60)

    def use() -> None:
        source = ComponentSource(larger, 50, lambda: Component(larger, None, 70))
        with pool.lease([source]):
            seen.append(pool._used_bytes())

    with ThreadPoolExecutor(2) as threads:
        holder = threads.submit(hold)
        assert holds.wait(60)
        user = threads.submit(use)
        while not pool.has_waiters:
            time.sleep(0.001)
        assert pool._used_bytes() == 90
        ends.set()
        holder.result(60)
        user.result(60)
    assert seen == [70]


def test_without_waiting_a_lease_that_does_not_fit_beside_others_is_refused_at_once() -> None:
    a, b, c = sources(loader := Loader())
    pool = ModelPool(200)
    pool.load(c)
    with pool.lease([a]):
        with pool.lease([b], wait=False):  # c is idle, and evicted
            assert names(pool) == "ab"
            assert not pool.has_room(1)
            with pytest.raises(MemoryBudgetError):
                pool.load(c, wait=False)
        assert pool.has_room(100)
        assert not pool.has_room(101)
    assert loader.loaded == ["c", "a", "b"]


def test_a_component_may_come_to_take_less_and_more_memory() -> None:
    a, b, c = sources(Loader())
    pool = ModelPool(200)
    pool.load(a, b)
    pool.resize(b.key, 10)
    assert pool.loaded_bytes == 110
    pool.resize(b.key, 100)
    with pool.lease([b]):
        pool.resize(b.key, 150)  # the idle one gives way
    assert names(pool) == "b"
    pool.resize(c.key, 150)  # which is not in memory
    assert pool.loaded_bytes == 150
