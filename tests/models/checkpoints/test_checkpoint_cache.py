from __future__ import annotations

import gc
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
import torch
from diffusers import UNet2DConditionModel

from safelight.errors import CheckpointInvalidError, MemoryBudgetError
from safelight.models.checkpoints import checkpoint_cache
from safelight.models.checkpoints.checkpoint_cache import CheckpointCache, release_freed_memory
from safelight.models.checkpoints.discovery import Checkpoint, describe_checkpoint
from safelight.models.checkpoints.loading import load_checkpoint

Tiny = Callable[[str], Path]


@pytest.fixture(autouse=True)
def no_collecting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn garbage collection off; it takes longer than these tests' empty models are worth."""
    if "long_lived" not in request.fixturenames:
        monkeypatch.setattr(checkpoint_cache, "release_freed_memory", lambda: None)


@pytest.fixture
def long_lived() -> Iterator[None]:
    """Freeze all existing objects, which makes garbage collections quick."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def three(tiny: Tiny) -> list[Checkpoint]:
    """Three checkpoints that count as 100 bytes each."""
    return [
        replace(describe_checkpoint(tiny("sd1"), name), modified=number) for number, name in enumerate("abc")
    ]


@dataclass(frozen=True)
class Empty:
    """A loaded checkpoint without networks."""

    checkpoint: Checkpoint
    nbytes: int


class Loader:
    """Returns empty models of 100 bytes, and records its calls."""

    def __init__(self, nbytes: int = 100, seconds: float = 0.0) -> None:
        self.nbytes, self.seconds = nbytes, seconds
        self.asked: list[str] = []

    def __call__(self, checkpoint: Checkpoint) -> Empty:
        self.asked.append(checkpoint.name)
        time.sleep(self.seconds)
        return Empty(checkpoint, self.nbytes)


def models(budget: int, loader: Loader, estimate: int = 100) -> CheckpointCache:
    return CheckpointCache(budget, loader, lambda _: estimate)


def names(pool: CheckpointCache) -> str:
    return "".join(checkpoint.name for checkpoint in pool.checkpoints())


def test_a_checkpoint_is_loaded_once(three: list[Checkpoint]) -> None:
    loader = Loader()
    pool = models(300, loader)
    assert pool.get(three[0]) is pool.get(three[0])
    assert loader.asked == ["a"]


def test_the_least_recently_used_checkpoint_is_evicted(three: list[Checkpoint]) -> None:
    a, b, c = three
    pool = models(250, Loader())
    for checkpoint in (a, b, a, c):
        pool.get(checkpoint)
    assert names(pool) == "ac"
    assert pool.nbytes == 200


def test_a_checkpoint_in_use_is_not_evicted(three: list[Checkpoint]) -> None:
    a, b, c = three
    pool = models(250, Loader())
    with pool.lease(a):
        pool.get(b)
        pool.get(c)
        assert names(pool) == "ac"


def test_a_checkpoint_larger_than_the_budget_is_refused_before_it_is_loaded(three: list[Checkpoint]) -> None:
    loader = Loader()
    with pytest.raises(MemoryBudgetError, match=r"needs 0.00 GB, and the budget is"):
        models(50, loader).get(three[0])
    assert loader.asked == []


def test_a_checkpoint_that_turns_out_too_large_is_released(three: list[Checkpoint]) -> None:
    pool = models(250, Loader(nbytes=300))
    with pytest.raises(MemoryBudgetError):
        pool.get(three[0])
    assert (names(pool), pool.nbytes) == ("", 0)


def test_the_true_size_counts_once_it_is_known(three: list[Checkpoint]) -> None:
    a, b, _ = three
    pool = models(250, Loader(nbytes=150))
    pool.get(a)
    pool.get(b)
    assert (names(pool), pool.nbytes) == ("b", 150)


def test_a_threads_own_leases_are_not_waited_for(three: list[Checkpoint]) -> None:
    a, b, _ = three
    pool = models(150, Loader())
    with pool.lease(a), pytest.raises(MemoryBudgetError, match="beside those in use"), pool.lease(b):
        pass
    pool.get(b)
    assert names(pool) == "b"


def test_leases_of_other_threads_are_waited_for(three: list[Checkpoint]) -> None:
    a, b, _ = three
    pool = models(150, Loader())
    order: list[str] = []

    def second() -> None:
        with pool.lease(b):
            order.append("b drawn")

    with pool.lease(a):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.05)
        order.append("a drawn")
    thread.join(5)
    assert order == ["a drawn", "b drawn"]


def test_concurrent_leases_are_not_evicted_for_each_other(
    three: list[Checkpoint],
) -> None:
    a, b, c = three
    pool = models(250, Loader())
    pool.get(c)
    with pool.lease_all([a, b], 50) as (first, second):
        assert (first.checkpoint, second.checkpoint) == (a, b)
        assert names(pool) == "ab"
        with pytest.raises(MemoryBudgetError), pool.lease(c):
            pass
    with pytest.raises(MemoryBudgetError), pool.lease_all([a, b], 51):
        pass
    pool.get(c)
    assert names(pool) == "bc"


def test_threads_that_need_two_do_not_deadlock_with_one_each(three: list[Checkpoint]) -> None:
    a, b, c = three
    pool = models(200, Loader(seconds=0.01))
    done: list[str] = []

    def use(keys: list[Checkpoint]) -> None:
        for _ in range(5):
            with pool.lease_all(keys) as loaded:
                done.append("".join(each.checkpoint.name for each in loaded))

    threads = [threading.Thread(target=use, args=(keys,)) for keys in ([a, b], [b, c], [c, a])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(done) == ["ab"] * 5 + ["bc"] * 5 + ["ca"] * 5


def test_two_threads_get_the_same_one(three: list[Checkpoint]) -> None:
    loader = Loader(seconds=0.05)
    pool = models(300, loader)
    got: list[Empty] = []
    threads = [threading.Thread(target=lambda: got.append(pool.get(three[0]))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, got))) == 1
    assert loader.asked == ["a"]


def test_loading_one_does_not_block_another(three: list[Checkpoint]) -> None:
    a, b, _ = three
    release = threading.Event()

    def slow(checkpoint: Checkpoint) -> Empty:
        if checkpoint is b:
            assert release.wait(5)
        return Empty(checkpoint, 100)

    pool = CheckpointCache(300, slow, lambda _: 100)
    pool.get(a)
    thread = threading.Thread(target=lambda: pool.get(b))
    thread.start()
    assert pool.get(a).checkpoint is a  # while b is still being loaded
    assert names(pool) == "a"
    release.set()
    thread.join(5)
    assert sorted(names(pool)) == ["a", "b"]


def test_a_failed_load_leaves_no_trace(three: list[Checkpoint]) -> None:
    def fail(_: Checkpoint) -> Empty:
        raise CheckpointInvalidError("damaged")

    pool = CheckpointCache(300, fail, lambda _: 100)
    with pytest.raises(CheckpointInvalidError):
        pool.get(three[0])
    assert pool.nbytes == 0


def test_clearing_keeps_checkpoints_in_use(three: list[Checkpoint]) -> None:
    a, b, _ = three
    pool = models(300, Loader())
    pool.get(b)
    with pool.lease(a):
        pool.clear()
        assert names(pool) == "a"
    pool.clear()
    assert names(pool) == ""


def test_clearing_by_name(three: list[Checkpoint]) -> None:
    a, b, _ = three
    replaced = replace(a, modified=9)  # on the disk, since it was loaded
    pool = models(300, Loader())
    for checkpoint in (a, replaced, b):
        pool.get(checkpoint)
    with pool.lease(replaced):
        pool.clear("a")
        assert pool.checkpoints() == [b, replaced]
    pool.clear("nothing")
    pool.clear("a")
    assert names(pool) == "b"


def test_many_threads_never_exceed_the_budget(three: list[Checkpoint]) -> None:
    pool = models(250, Loader(seconds=0.001))
    highest: list[int] = []

    def work(start: int) -> None:
        for turn in range(15):
            with pool.lease(three[(start + turn) % 3]) as loaded:
                assert loaded.checkpoint in pool.checkpoints()
                highest.append(pool.nbytes)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(highest) == 6 * 15
    assert max(highest) <= 250


# Reserved memory beside the weights


def start_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    time.sleep(0.05)
    return thread


def test_reserved_memory_is_taken_from_idle_checkpoints_and_released(three: list[Checkpoint]) -> None:
    a, b, c = three
    pool = models(300, Loader())
    for checkpoint in (a, b, c):
        pool.get(checkpoint)
    with pool.lease(a, 150):  # though it is the least recently used one itself
        assert names(pool) == "a"
        assert pool.nbytes == 100
    pool.get(b)
    pool.get(c)
    assert names(pool) == "abc"


def test_a_reservation_larger_than_the_budget(three: list[Checkpoint]) -> None:
    pool = models(250, Loader())
    with pytest.raises(MemoryBudgetError), pool.lease(three[0], 151):
        pass
    with pytest.raises(MemoryBudgetError), pool.lease(three[0], 100), pool.lease(three[0], 51):
        pass
    with pool.lease(three[0], 100), pool.lease(three[0], 50):
        pass
    assert names(pool) == "a"


def test_two_leases_of_a_checkpoint_wait_for_each_others_reservation(three: list[Checkpoint]) -> None:
    pool = models(250, Loader())
    order: list[str] = []

    def second() -> None:
        with pool.lease(three[0], 100):
            order.append("second")

    with pool.lease(three[0], 100):
        thread = start_thread(second)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


def test_a_thread_that_waits_for_memory_is_not_overtaken(three: list[Checkpoint]) -> None:
    a, b, _ = three
    pool = models(250, Loader())
    order: list[str] = []

    def use(checkpoint: Checkpoint, room: int, name: str) -> None:
        with pool.lease(checkpoint, room):
            order.append(name)

    with pool.lease(a, 50):
        large = start_thread(lambda: use(b, 100, "large"))
        small = start_thread(lambda: use(a, 10, "small"))  # which would fit now
        with pool.lease(a, 10):  # a thread that has a lease may get another of the same checkpoint
            order.append("own")
    for thread in (large, small):
        thread.join(5)
    assert order == ["own", "large", "small"]


def test_a_deadlock_is_an_error(three: list[Checkpoint]) -> None:
    """Two checkpoints turn out larger than they seemed, so that neither fits beside the other."""
    both, outcomes = threading.Barrier(2), list[str]()

    def load(checkpoint: Checkpoint) -> Empty:
        if checkpoint is not three[2]:
            both.wait(10)
        return Empty(checkpoint, 250)

    pool = CheckpointCache(450, load, lambda _: 50)

    def use(checkpoint: Checkpoint) -> None:
        try:
            with pool.lease(checkpoint, 150):
                outcomes.append("drawn")
        except MemoryBudgetError:
            outcomes.append("refused")

    threads = [threading.Thread(target=use, args=(checkpoint,), daemon=True) for checkpoint in three[:2]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(outcomes) == ["drawn", "refused"]
    with pool.lease(three[2], 150):
        assert names(pool) == "c"


def test_many_threads_with_reservations_never_exceed_the_budget(three: list[Checkpoint]) -> None:
    pool = models(360, Loader(seconds=0.001))
    room = 0
    highest: list[int] = []
    lock = threading.Lock()

    def work(start: int) -> None:
        nonlocal room
        for turn in range(15):
            wanted = 10 * ((start + turn) % 7)
            with pool.lease(three[(start * turn) % 3], wanted):
                with lock:
                    room += wanted
                    highest.append(pool.nbytes + room)
                with lock:
                    room -= wanted

    threads = [threading.Thread(target=work, args=(start,), daemon=True) for start in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(highest) == 6 * 15
    assert max(highest) <= 360


def test_fifty_switches_leak_no_memory(tiny: Tiny, tmp_path: Path, long_lived: None) -> None:
    pair = [heavy_checkpoint(tiny, tmp_path / name, seed) for seed, name in enumerate("ab")]
    size = pair[0].size
    assert size > 30e6
    pool = CheckpointCache(int(1.5 * size), load_checkpoint)
    process = psutil.Process()
    for turn in range(6):
        pool.get(pair[turn % 2])
    release_freed_memory()
    before = process.memory_info().rss
    for turn in range(50):
        pool.get(pair[turn % 2])
    release_freed_memory()
    after = process.memory_info().rss
    assert len(pool.checkpoints()) == 1
    assert abs(after - before) < 0.05 * before
    pool.clear()
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
