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
from safelight.models.checkpoints import Checkpoint


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
class _Hold:
    """A thread's lease, with the room it has beside the weights."""

    room: int
    thread: int = field(default_factory=threading.get_ident)


@dataclass(eq=False)
class _Place(Generic[Value]):
    """A network's place in memory: reserved before it is loaded, so that other threads count it."""

    nbytes: int
    holds: list[_Hold] = field(default_factory=list)
    loading: threading.Lock = field(default_factory=threading.Lock)
    loaded: Value | None = None

    @property
    def taken(self) -> int:
        """Bytes of its weights and of all memory reserved beside them."""
        return self.nbytes + sum(hold.room for hold in self.holds)


class LoadedModels(Generic[Key, Value]):
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
        self._places: OrderedDict[Key, _Place[Value]] = OrderedDict()
        self._changed = threading.Condition()
        self._turn = threading.Lock()
        self._waiting: set[int] = set()

    @contextmanager
    def lease(self, key: Key, room: int = 0) -> Iterator[Value]:
        """One network; see ``lease_all``."""
        with self.lease_all([key], room) as (loaded,):
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
        places, holds = self._hold(keys, room)
        try:
            yield [self._loaded(key, place) for key, place in zip(keys, places, strict=True)]
        finally:
            self._let_go(places, holds)

    def get(self, key: Key) -> Value:
        """A network, loaded if need be; it may be evicted at any time. See ``lease``."""
        with self.lease(key) as loaded:
            return loaded

    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints in memory, the least recently used first."""
        with self._changed:
            loaded = [key for key, place in self._places.items() if place.loaded is not None]
        return [key for key in loaded if isinstance(key, Checkpoint)]

    @property
    def awaited(self) -> bool:
        """Whether a thread waits until others release memory."""
        return bool(self._waiting)

    @property
    def nbytes(self) -> int:
        """Bytes of the loaded weights, and of those reserved for weights that are being loaded."""
        with self._changed:
            return sum(place.nbytes for place in self._places.values())

    def clear(self, name: str | None = None) -> None:
        """Evict what is not in use: everything, or the checkpoints that one name means or meant."""
        with self._changed:
            idle = [key for key, place in self._places.items() if not place.holds]
            for key in idle:
                if name is None or (isinstance(key, Checkpoint) and key.name == name):
                    del self._places[key]
        return_memory()

    def _hold(self, keys: Sequence[Key], room: int) -> tuple[list[_Place[Value]], list[_Hold]]:
        with self._in_turn(), self._changed:
            self._make_room(room, keys)
            places, holds = list[_Place[Value]](), list[_Hold]()
            for key in keys:
                place = self._places.setdefault(key, _Place(self._estimate(key)))
                self._places.move_to_end(key)
                hold = _Hold(0 if holds else room)
                place.holds.append(hold)
                places.append(place)
                holds.append(hold)
            return places, holds

    def _in_turn(self) -> AbstractContextManager[object]:
        """Lets threads ask for memory one after the other; a thread that has leases does not wait for its turn."""
        with self._changed:
            return nullcontext() if self._held_by(threading.get_ident()) else self._turn

    def _let_go(self, places: Sequence[_Place[Value]], holds: Sequence[_Hold]) -> None:
        with self._changed:
            for place, hold in zip(places, holds, strict=True):
                place.holds.remove(hold)
            self._tell()

    def _loaded(self, key: Key, place: _Place[Value]) -> Value:
        with place.loading:
            if place.loaded is None:
                try:
                    place.loaded = self._load(key)
                    self._account(place, place.loaded.nbytes)
                except BaseException:
                    self._forget(key, place)
                    raise
            return place.loaded

    def _account(self, place: _Place[Value], nbytes: int) -> None:
        """Put the true size in place of the estimate, and evict for the difference."""
        with self._changed:
            place.nbytes = 0
            self._make_room(nbytes)
            place.nbytes = nbytes

    def _forget(self, key: Key, place: _Place[Value]) -> None:
        with self._changed:
            place.loaded = None
            if self._places.get(key) is place:
                del self._places[key]
            self._tell()
        return_memory()

    def _make_room(self, nbytes: int, keys: Collection[Key] = ()) -> None:
        """Evict until so many bytes more fit the budget; called with the lock held.

        Args:
            nbytes: Bytes.
            keys: What is not evicted; for those that are not in memory their own size is needed as well.
        """
        if (needed := nbytes + self._missing(keys)) > self._budget:
            raise MemoryBudgetError(
                f"The checkpoint needs {_gigabytes(needed)}, and the budget is {_gigabytes(self._budget)}."
            )
        evicted = False
        while self._taken() + (needed := nbytes + self._missing(keys)) > self._budget:
            if (idle := self._idle(keys)) is not None:
                del self._places[idle]
                evicted = True
            else:
                self._wait_for(needed)
        if evicted:
            return_memory()

    def _taken(self) -> int:
        return sum(place.taken for place in self._places.values())

    def _missing(self, keys: Collection[Key]) -> int:
        return sum(self._estimate(key) for key in keys if key not in self._places)

    def _idle(self, kept: Collection[Key]) -> Key | None:
        """The least recently used network that nobody uses."""
        idle = (each for each, place in self._places.items() if not place.holds and each not in kept)
        return next(idle, None)

    def _wait_for(self, nbytes: int) -> None:
        """Wait until other threads release memory, if there are others that do not wait themselves."""
        me = threading.get_ident()
        holders = {hold.thread for place in self._places.values() for hold in place.holds}
        if self._held_by(me) + nbytes > self._budget or holders <= self._waiting | {me}:
            raise MemoryBudgetError(
                f"The checkpoint needs {_gigabytes(nbytes)} beside those in use, and the budget is "
                f"{_gigabytes(self._budget)}."
            )
        self._waiting.add(me)
        try:
            self._changed.wait()
        finally:
            self._waiting.discard(me)

    def _tell(self) -> None:
        """Wake all threads that wait for memory, so that they try again."""
        self._waiting.clear()
        self._changed.notify_all()

    def _held_by(self, thread: int) -> int:
        """Bytes that a thread leases."""
        return sum(
            place.taken for place in self._places.values() for hold in place.holds if hold.thread == thread
        )


def return_memory() -> None:
    """Return freed memory to the operating system (with glibc) and to the CUDA driver."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # not in musl
        if trim is not None:
            trim(0)


def _gigabytes(nbytes: int) -> str:
    return f"{nbytes / 1e9:.2f} GB"
