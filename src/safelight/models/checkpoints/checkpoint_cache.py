"""Several networks in memory at once, under a budget: the least recently used one is evicted for another.

Checkpoints and upscalers share the budget.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import torch

from safelight.errors import MemoryBudgetError
from safelight.models.checkpoints.discovery import Checkpoint


class Stored(Protocol):
    """Weights on the disk; hashable, and not equal to other weights of the same name."""

    @property
    def name(self) -> str:
        """By which they are asked for."""

    @property
    def size(self) -> int:
        """Bytes on the disk."""


class InMemory(Protocol):
    """Weights in memory."""

    @property
    def nbytes(self) -> int:
        """Bytes of all weights and buffers."""


Key = TypeVar("Key", bound=Stored)
Value = TypeVar("Value", bound=InMemory)


@dataclass(eq=False)
class _Lease:
    """A thread's lease, with the room it has beside the weights."""

    reserved_bytes: int
    thread_id: int = field(default_factory=threading.get_ident)


@dataclass(eq=False)
class _CacheEntry(Generic[Value]):
    """A network's place in memory: reserved before it is loaded, so that other threads count it."""

    nbytes: int
    leases: list[_Lease] = field(default_factory=list)
    load_lock: threading.Lock = field(default_factory=threading.Lock)
    loaded: Value | None = None

    @property
    def used_bytes(self) -> int:
        """Bytes of its weights and of all memory reserved beside them."""
        return self.nbytes + sum(hold.reserved_bytes for hold in self.leases)


class CheckpointCache(Generic[Key, Value]):
    """A pool of loaded checkpoints and upscalers, the most recently used ones.

    Threads may share it. While one network is loaded, other threads use others, and two threads that lease the same
    one get the same object. Threads get memory in the order in which they asked for it.

    Args:
        budget: Bytes that all weights, and the room that is asked for beside them, may take together.
        load: Loads a network.
        estimate: Bytes that a network will take, before it is loaded; by default its weights' size on disk.
    """

    def __init__(
        self,
        budget: int,
        load: Callable[[Key], Value],
        estimate: Callable[[Key], int] = lambda key: key.size,
    ) -> None:
        self._budget = budget
        self._load = load
        self._estimate = estimate
        self._entries: OrderedDict[Key, _CacheEntry[Value]] = OrderedDict()
        self._condition = threading.Condition()
        self._waiting_lock = threading.Lock()
        self._waiting: set[int] = set()

    @contextmanager
    def lease(self, key: Key, reserve: int = 0) -> Iterator[Value]:
        """One network; see ``lease_all``."""
        with self.lease_all([key], reserve) as (loaded,):
            yield loaded

    @contextmanager
    def lease_all(self, keys: Sequence[Key], room: int = 0) -> Iterator[list[Value]]:
        """Networks to use within the block, in the order of their keys; until it ends, they are not evicted.

        Where others must be evicted and are in use by other threads, this waits for them. Memory for all of them is
        reserved at once, so that two threads never wait for each other with half of what they need.

        Args:
            keys: What to use.
            room: Bytes to keep free beside them, for what is computed with them.

        Raises:
            MemoryBudgetError: They need more than the budget, or more than what this thread's other leases leave of it.
            CheckpointInvalidError, and the other errors of loading.
        """
        places, holds = self._acquire(keys, room)
        try:
            yield [self._load_once(key, place) for key, place in zip(keys, places, strict=True)]
        finally:
            self._release(places, holds)

    def get(self, key: Key) -> Value:
        """A network, loaded if need be; it may be evicted at any time. See ``lease``."""
        with self.lease(key) as loaded:
            return loaded

    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints in memory, the least recently used first."""
        with self._condition:
            loaded = [key for key, place in self._entries.items() if place.loaded is not None]
        return [key for key in loaded if isinstance(key, Checkpoint)]

    @property
    def has_waiters(self) -> bool:
        """Whether a thread waits until others release memory."""
        return bool(self._waiting)

    @property
    def nbytes(self) -> int:
        """Bytes of the loaded weights, and of those reserved for weights that are being loaded."""
        with self._condition:
            return sum(place.nbytes for place in self._entries.values())

    def clear(self, name: str | None = None) -> None:
        """Evict what is not in use: everything, or the checkpoints that one name means or meant."""
        with self._condition:
            idle = [key for key, place in self._entries.items() if not place.leases]
            for key in idle:
                if name is None or (isinstance(key, Checkpoint) and key.name == name):
                    del self._entries[key]
        release_freed_memory()

    def _acquire(self, keys: Sequence[Key], reserve: int) -> tuple[list[_CacheEntry[Value]], list[_Lease]]:
        with self._acquisition_lock(), self._condition:
            self._evict_for(reserve, keys)
            places, holds = list[_CacheEntry[Value]](), list[_Lease]()
            for key in keys:
                place = self._entries.setdefault(key, _CacheEntry(self._estimate(key)))
                self._entries.move_to_end(key)
                hold = _Lease(0 if holds else reserve)
                place.leases.append(hold)
                places.append(place)
                holds.append(hold)
            return places, holds

    def _acquisition_lock(self) -> AbstractContextManager[object]:
        """Lets threads ask for memory one after the other; a thread that has leases does not wait for its turn."""
        with self._condition:
            return nullcontext() if self._leased_bytes(threading.get_ident()) else self._waiting_lock

    def _release(self, places: Sequence[_CacheEntry[Value]], holds: Sequence[_Lease]) -> None:
        with self._condition:
            for place, hold in zip(places, holds, strict=True):
                place.leases.remove(hold)
            self._notify_waiters()

    def _load_once(self, key: Key, place: _CacheEntry[Value]) -> Value:
        with place.load_lock:
            if place.loaded is None:
                try:
                    place.loaded = self._load(key)
                    self._set_size(place, place.loaded.nbytes)
                except BaseException:
                    self._remove(key, place)
                    raise
            return place.loaded

    def _set_size(self, place: _CacheEntry[Value], nbytes: int) -> None:
        """Put the true size in place of the estimate, and evict for the difference."""
        with self._condition:
            place.nbytes = 0
            self._evict_for(nbytes)
            place.nbytes = nbytes

    def _remove(self, key: Key, place: _CacheEntry[Value]) -> None:
        with self._condition:
            place.loaded = None
            if self._entries.get(key) is place:
                del self._entries[key]
            self._notify_waiters()
        release_freed_memory()

    def _evict_for(self, nbytes: int, keys: Collection[Key] = ()) -> None:
        """Evict until so many bytes more fit the budget; called with the lock held.

        Args:
            nbytes: Bytes.
            keys: What is not evicted; for those that are not in memory their own size is needed as well.
        """
        if (needed := nbytes + self._missing_bytes(keys)) > self._budget:
            raise MemoryBudgetError(
                f"The checkpoint needs {_format_gigabytes(needed)}, and the budget is "
                f"{_format_gigabytes(self._budget)}."
            )
        evicted = False
        while self._used_bytes() + (needed := nbytes + self._missing_bytes(keys)) > self._budget:
            if (idle := self._least_recent_idle(keys)) is not None:
                del self._entries[idle]
                evicted = True
            else:
                self._wait_for_memory(needed)
        if evicted:
            release_freed_memory()

    def _used_bytes(self) -> int:
        return sum(place.used_bytes for place in self._entries.values())

    def _missing_bytes(self, keys: Collection[Key]) -> int:
        return sum(self._estimate(key) for key in keys if key not in self._entries)

    def _least_recent_idle(self, exclude: Collection[Key]) -> Key | None:
        """The least recently used network that nobody uses."""
        idle = (each for each, place in self._entries.items() if not place.leases and each not in exclude)
        return next(idle, None)

    def _wait_for_memory(self, nbytes: int) -> None:
        """Wait until other threads release memory, if there are others that do not wait themselves."""
        me = threading.get_ident()
        holders = {hold.thread_id for place in self._entries.values() for hold in place.leases}
        if self._leased_bytes(me) + nbytes > self._budget or holders <= self._waiting | {me}:
            raise MemoryBudgetError(
                f"The checkpoint needs {_format_gigabytes(nbytes)} beside those in use, and the budget is "
                f"{_format_gigabytes(self._budget)}."
            )
        self._waiting.add(me)
        try:
            self._condition.wait()
        finally:
            self._waiting.discard(me)

    def _notify_waiters(self) -> None:
        """Wake all threads that wait for memory, so that they try again."""
        self._waiting.clear()
        self._condition.notify_all()

    def _leased_bytes(self, thread: int) -> int:
        """Bytes that a thread leases."""
        return sum(
            place.used_bytes
            for place in self._entries.values()
            for hold in place.leases
            if hold.thread_id == thread
        )


def release_freed_memory() -> None:
    """Return freed memory to the operating system (with glibc) and to the CUDA driver."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # not in musl
        if trim is not None:
            trim(0)


def _format_gigabytes(nbytes: int) -> str:
    return f"{nbytes / 1e9:.2f} GB"
