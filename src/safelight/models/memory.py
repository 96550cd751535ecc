"""Keep several checkpoints in memory under a budget; the least recently used one is evicted first."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import torch

from safelight.errors import MemoryBudgetError
from safelight.models.checkpoints import Checkpoint
from safelight.models.loading import Loaded

Load = Callable[[Checkpoint], Loaded]
Estimate = Callable[[Checkpoint], int]


@dataclass(eq=False)
class _Hold:
    """One thread's lease of a checkpoint, with the memory reserved beside the weights."""

    room: int
    thread: int = field(default_factory=threading.get_ident)


@dataclass(eq=False)
class _Place:
    """A checkpoint's entry in the cache; made before the checkpoint is loaded, so that its memory is reserved."""

    nbytes: int
    holds: list[_Hold] = field(default_factory=list)
    loading: threading.Lock = field(default_factory=threading.Lock)
    loaded: Loaded | None = None

    @property
    def taken(self) -> int:
        """Bytes of its weights and of all memory reserved beside them."""
        return self.nbytes + sum(hold.room for hold in self.holds)


class LoadedModels:
    """A cache of loaded checkpoints with least-recently-used eviction. Thread-safe.

    Loading a checkpoint does not block the use of others, and threads that lease the same checkpoint share one copy.
    No thread overtakes one that waits for memory.

    Args:
        budget: Limit in bytes of all weights and of the memory reserved beside them.
        load: Loads a checkpoint.
        estimate: Estimates a checkpoint's bytes before it is loaded; by default the weights' size on disk.
    """

    def __init__(
        self, budget: int, load: Load, estimate: Estimate = lambda checkpoint: checkpoint.size
    ) -> None:
        self._budget = budget
        self._load = load
        self._estimate = estimate
        self._places: OrderedDict[Checkpoint, _Place] = OrderedDict()
        self._changed = threading.Condition()
        self._turn = threading.Lock()
        self._waiting: set[int] = set()

    @contextmanager
    def lease(self, checkpoint: Checkpoint, room: int = 0) -> Iterator[Loaded]:
        """Lease a checkpoint: within the block it is loaded and not evicted.

        Waits while the checkpoints that would have to be evicted are leased by other threads.

        Args:
            checkpoint: The checkpoint.
            room: Bytes to reserve beside the weights, for the work that is done with it.

        Raises:
            MemoryBudgetError: It exceeds the budget, alone or together with this thread's other leases.
            CheckpointInvalidError, and the other errors of loading.
        """
        place, hold = self._hold(checkpoint, room)
        try:
            yield self._loaded(checkpoint, place)
        finally:
            self._let_go(place, hold)

    def get(self, checkpoint: Checkpoint) -> Loaded:
        """Return a checkpoint, loading it if necessary; it may be evicted at any time. See ``lease``."""
        with self.lease(checkpoint) as loaded:
            return loaded

    def checkpoints(self) -> list[Checkpoint]:
        """The loaded checkpoints, the least recently used first."""
        with self._changed:
            return [checkpoint for checkpoint, place in self._places.items() if place.loaded]

    @property
    def awaited(self) -> bool:
        """Whether a thread waits for others to release memory."""
        return bool(self._waiting)

    @property
    def nbytes(self) -> int:
        """Bytes of the loaded weights, and of those reserved for weights that are being loaded."""
        with self._changed:
            return sum(place.nbytes for place in self._places.values())

    def clear(self, name: str | None = None) -> None:
        """Evict checkpoints that are not leased: all of them, or those of one name."""
        with self._changed:
            idle = [checkpoint for checkpoint, place in self._places.items() if not place.holds]
            for checkpoint in idle:
                if name in (None, checkpoint.name):
                    del self._places[checkpoint]
        return_memory()

    def _hold(self, checkpoint: Checkpoint, room: int) -> tuple[_Place, _Hold]:
        with self._in_turn(), self._changed:
            self._make_room(room, checkpoint)
            place = self._places.setdefault(checkpoint, _Place(self._estimate(checkpoint)))
            self._places.move_to_end(checkpoint)
            hold = _Hold(room)
            place.holds.append(hold)
            return place, hold

    def _in_turn(self) -> AbstractContextManager[object]:
        """The lock that keeps threads from overtaking one that waits for memory; holders of a lease do not take it.

        Otherwise it would wait for threads that wait for its lease.
        """
        with self._changed:
            return nullcontext() if self._held_by(threading.get_ident()) else self._turn

    def _let_go(self, place: _Place, hold: _Hold) -> None:
        with self._changed:
            place.holds.remove(hold)
            self._tell()

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
        """Replace the estimate by the actual size, and evict others for the difference."""
        with self._changed:
            place.nbytes = 0
            self._make_room(nbytes)
            place.nbytes = nbytes

    def _forget(self, checkpoint: Checkpoint, place: _Place) -> None:
        with self._changed:
            place.loaded = None
            if self._places.get(checkpoint) is place:
                del self._places[checkpoint]
            self._tell()
        return_memory()

    def _make_room(self, nbytes: int, checkpoint: Checkpoint | None = None) -> None:
        """Evict checkpoints until the given number of bytes fits into the budget; called with the lock held.

        Args:
            nbytes: Bytes to make room for.
            checkpoint: A checkpoint that is not evicted and, if it is not in the cache yet, needs room as well.
        """
        if (needed := nbytes + self._missing(checkpoint)) > self._budget:
            raise MemoryBudgetError(
                f"The checkpoint needs {_gigabytes(needed)}, and the budget is {_gigabytes(self._budget)}."
            )
        evicted = False
        while self._taken() + (needed := nbytes + self._missing(checkpoint)) > self._budget:
            if (idle := self._idle(checkpoint)) is not None:
                del self._places[idle]
                evicted = True
            else:
                self._wait_for(needed)
        if evicted:
            return_memory()

    def _taken(self) -> int:
        return sum(place.taken for place in self._places.values())

    def _missing(self, checkpoint: Checkpoint | None) -> int:
        return 0 if checkpoint is None or checkpoint in self._places else self._estimate(checkpoint)

    def _idle(self, kept: Checkpoint | None) -> Checkpoint | None:
        """The least recently used checkpoint without a lease."""
        idle = (each for each, place in self._places.items() if not place.holds and each != kept)
        return next(idle, None)

    def _wait_for(self, nbytes: int) -> None:
        """Wait until another thread releases a lease; raises MemoryBudgetError if all holders wait themselves."""
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
        """Wake all threads that wait for memory; each checks again whether it has to wait."""
        self._waiting.clear()
        self._changed.notify_all()

    def _held_by(self, thread: int) -> int:
        """Bytes of a thread's leases."""
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
