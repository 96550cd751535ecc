"""Several checkpoints in memory at once, under a budget: the least recently used one makes room."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from safelight.errors import MemoryBudgetError
from safelight.models.checkpoints import Checkpoint
from safelight.models.loading import Loaded

Load = Callable[[Checkpoint], Loaded]
Estimate = Callable[[Checkpoint], int]


@dataclass(eq=False)
class _Place:
    """A checkpoint's place in memory: reserved before it is loaded, so that others know of it."""

    nbytes: int
    holders: list[int] = field(default_factory=list)
    loading: threading.Lock = field(default_factory=threading.Lock)
    loaded: Loaded | None = None


class LoadedModels:
    """Loaded checkpoints, the most recently used ones.

    Threads may share it. A checkpoint that is being loaded keeps nobody else from using another one, and two threads
    that ask for the same one get the same.

    Args:
        budget: Bytes that all weights together may take.
        load: Loads a checkpoint.
        estimate: Bytes that a checkpoint will take, told before it is loaded; by default its weights' size on disk.
    """

    def __init__(
        self, budget: int, load: Load, estimate: Estimate = lambda checkpoint: checkpoint.size
    ) -> None:
        self._budget = budget
        self._load = load
        self._estimate = estimate
        self._places: OrderedDict[Checkpoint, _Place] = OrderedDict()
        self._changed = threading.Condition()

    @contextmanager
    def lease(self, checkpoint: Checkpoint) -> Iterator[Loaded]:
        """A checkpoint to use within the block; until it ends, it is not evicted.

        Where others must make room and are in use by other threads, this waits for them.

        Raises:
            MemoryBudgetError: It is larger than the budget, or what this thread itself uses leaves it no room.
            CheckpointInvalidError, and the other errors of loading.
        """
        place = self._hold(checkpoint)
        try:
            yield self._loaded(checkpoint, place)
        finally:
            self._let_go(place)

    def get(self, checkpoint: Checkpoint) -> Loaded:
        """A checkpoint, loaded if need be; another one may take its place at any time. See ``lease``."""
        with self.lease(checkpoint) as loaded:
            return loaded

    def checkpoints(self) -> list[Checkpoint]:
        """What is in memory, the least recently used first."""
        with self._changed:
            return [checkpoint for checkpoint, place in self._places.items() if place.loaded]

    @property
    def nbytes(self) -> int:
        """Bytes that are in use or reserved."""
        with self._changed:
            return sum(place.nbytes for place in self._places.values())

    def clear(self) -> None:
        """Evict everything that is not in use."""
        with self._changed:
            for checkpoint in [checkpoint for checkpoint, place in self._places.items() if not place.holders]:
                del self._places[checkpoint]
        return_memory()

    def _hold(self, checkpoint: Checkpoint) -> _Place:
        with self._changed:
            if checkpoint not in self._places:
                self._make_room(self._estimate(checkpoint))
            place = self._places.setdefault(checkpoint, _Place(self._estimate(checkpoint)))
            self._places.move_to_end(checkpoint)
            place.holders.append(threading.get_ident())
            return place

    def _let_go(self, place: _Place) -> None:
        with self._changed:
            place.holders.remove(threading.get_ident())
            self._changed.notify_all()

    def _loaded(self, checkpoint: Checkpoint, place: _Place) -> Loaded:
        with place.loading:
            if place.loaded is None:
                try:
                    place.loaded = self._load(checkpoint)
                    self._account(place, place.loaded.nbytes)
                except BaseException:
                    self._forget(checkpoint, place)
                    raise
            return place.loaded

    def _account(self, place: _Place, nbytes: int) -> None:
        """Put the true size in place of the estimate, and evict for the difference."""
        with self._changed:
            place.nbytes = 0
            self._make_room(nbytes)
            place.nbytes = nbytes

    def _forget(self, checkpoint: Checkpoint, place: _Place) -> None:
        with self._changed:
            place.loaded = None
            if self._places.get(checkpoint) is place:
                del self._places[checkpoint]
            self._changed.notify_all()
        return_memory()

    def _make_room(self, nbytes: int) -> None:
        """Evict until so many bytes more fit the budget; called with the lock held."""
        if nbytes > self._budget:
            raise MemoryBudgetError(
                f"The checkpoint needs {_gigabytes(nbytes)}, and the budget is {_gigabytes(self._budget)}."
            )
        evicted = False
        while self._taken() + nbytes > self._budget:
            idle = next((checkpoint for checkpoint, place in self._places.items() if not place.holders), None)
            if idle is not None:
                del self._places[idle]
                evicted = True
            elif self._waits_for_itself(nbytes):
                raise MemoryBudgetError(
                    f"The checkpoint needs {_gigabytes(nbytes)} beside those in use, and the budget is "
                    f"{_gigabytes(self._budget)}."
                )
            else:
                self._changed.wait()
        if evicted:
            return_memory()

    def _taken(self) -> int:
        return sum(place.nbytes for place in self._places.values())

    def _waits_for_itself(self, nbytes: int) -> bool:
        """Whether what this thread holds leaves no room, so that waiting for others would not help."""
        mine = (place.nbytes for place in self._places.values() if threading.get_ident() in place.holders)
        return sum(mine) + nbytes > self._budget


def return_memory() -> None:
    """Give freed memory back: to the operating system where the C library is glibc, and on CUDA to the driver."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)


def _gigabytes(nbytes: int) -> str:
    return f"{nbytes / 1e9:.2f} GB"
