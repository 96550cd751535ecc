"""A pool of loaded components under one budget: the least recently used ones are evicted for others.

Networks of checkpoints, upscalers and classifiers share the pool. Each is loaded, counted and evicted by itself, and
those with equal keys are one in memory, whatever they belong to.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

from safelight.errors import MemoryBudgetError
from safelight.runtime.allocator import trim
from safelight.runtime.component import Component, ComponentKey, ComponentSource
from safelight.runtime.devices import release_cached_memory
from safelight.runtime.devices.memory import HOST_SHARE, host_memory


@dataclass(eq=False)
class _Lease:
    """A thread's lease, with the room it has beside the weights."""

    room: int
    thread_id: int = field(default_factory=threading.get_ident)


@dataclass(eq=False)
class _PoolEntry:
    """A component's place in memory: reserved before it is loaded, so that other threads count it.

    Args:
        nbytes: Bytes of its weights, as far as they count in the pool's budget.
        elsewhere: Bytes of its weights on another device.
    """

    nbytes: int
    elsewhere: int = 0
    leases: list[_Lease] = field(default_factory=list)
    is_loading: bool = False
    component: Component | None = None

    @classmethod
    def of(cls, source: ComponentSource) -> _PoolEntry:
        """The place of a component that is not loaded."""
        entry = cls(0)
        entry.set_size(source.key, source.nbytes)
        return entry

    def set_size(self, key: ComponentKey, nbytes: int) -> None:
        """Note the bytes of the weights."""
        self.nbytes, self.elsewhere = (0, nbytes) if key.device else (nbytes, 0)

    @property
    def used_bytes(self) -> int:
        """Bytes of its weights and of all memory reserved beside them."""
        return self.nbytes + sum(lease.room for lease in self.leases)

    def room_of(self, thread_id: int) -> int:
        """Bytes that a thread's leases reserve beside its weights."""
        return sum(lease.room for lease in self.leases if lease.thread_id == thread_id)

    def is_leased_by(self, thread_id: int) -> bool:
        """Whether a thread leases it."""
        return any(lease.thread_id == thread_id for lease in self.leases)


@dataclass(eq=False)
class _Reserved:
    """Memory that a thread has reserved for components that it leases one after the other.

    Args:
        nbytes: Bytes, those of the components that it leases now among them.
        within: Bytes that everything in memory may take meanwhile, as far as idle components can be evicted for it.
    """

    nbytes: int
    within: int
    thread_id: int = field(default_factory=threading.get_ident)
    entries: list[_PoolEntry] = field(default_factory=list)

    @property
    def free_bytes(self) -> int:
        """Bytes that no leased component takes."""
        return max(0, self.nbytes - sum(entry.nbytes for entry in self.entries))


class ModelPool:
    """A pool of loaded components, the most recently used ones.

    Threads may share it. While one component is loaded, other threads use others, and two threads that lease the same
    one get the same object. Threads get memory in the order in which they asked for it; those that need none, because
    all components are in memory, do not wait.

    The budget is that of one device. Components that are elsewhere (``ComponentKey.device``) do not count in it; what
    all of them on one device may take is in ``budgets_elsewhere``.

    Args:
        budget: Bytes that all weights, and the room that is asked for beside them, may take together.

    Attributes:
        budget: The same; it may change, and what is in use is not evicted for it.
        budgets_elsewhere: Bytes that the weights on other devices may take, by device.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.budgets_elsewhere: dict[str, int] = {}
        self._entries: OrderedDict[ComponentKey, _PoolEntry] = OrderedDict()
        self._reserved: list[_Reserved] = []
        self._condition = threading.Condition()
        self._waiting_lock = threading.Lock()
        self._waiting_for_memory: set[int] = set()
        self._waiting_for_loads: set[int] = set()

    @contextmanager
    def lease(
        self,
        sources: Iterable[ComponentSource],
        room: int = 0,
        within: int | None = None,
        *,
        wait: bool = True,
    ) -> Iterator[list[Component]]:
        """Components to use within the block, in the order of their sources; until it ends, they are not evicted.

        Where others must be evicted and are in use by other threads, this waits for them. Memory for all of them is
        reserved at once, so that two threads never wait for each other with half of what they need.

        Args:
            sources: What to use; those with equal keys give the same component.
            room: Bytes to keep free beside them, for what is computed with them.
            within: Bytes that everything in memory may take, as far as idle components can be evicted for it: less than
                the budget where other programs, or this one, use the memory otherwise.
            wait: Whether to wait for memory that other threads use.

        Raises:
            MemoryBudgetError: They need more than the budget, or more than what this thread's other leases leave of it;
                or, without waiting, than what all leases leave of it.
            Exception: What loading one of them raises.
        """
        sources = list(sources)
        entries, leases = self._acquire({source.key: source for source in sources}, room, within, wait)
        try:
            yield [self._load_once(source, entries[source.key]) for source in sources]
        finally:
            self._release(entries, leases)

    @contextmanager
    def reserve(self, nbytes: int, within: int | None = None) -> Iterator[Reservation]:
        """Reserve memory within the block, for components that are leased one after the other.

        Where others must be evicted and are in use by other threads, this waits for them; leasing within the
        reservation does not.

        Args:
            nbytes: Bytes of the components that are leased at a time, and of what is computed with them.
            within: As in ``lease``, until the block ends.

        Raises:
            MemoryBudgetError: It is more than the budget, or more than what this thread's leases leave of it.
        """
        reserved = _Reserved(nbytes, self.budget if within is None else within)
        with self._acquisition_lock(), self._condition:
            self._evict_for(nbytes, within=within)
            self._reserved.append(reserved)
        try:
            yield Reservation(self, reserved)
        finally:
            with self._condition:
                self._reserved.remove(reserved)
                self._notify_waiters()

    @contextmanager
    def lease_reserved(self, source: ComponentSource, reserved: _Reserved) -> Iterator[Component]:
        """A component within a reservation; afterwards it stays as long as the budget allows. See ``Reservation``."""
        with self._condition:
            self._make_room_elsewhere({source.key: source})
            entries, leases = self._add_leases({source.key: source}, 0)
            reserved.entries.append(entry := entries[source.key])
            self._evict_surplus()
        try:
            yield self._load_once(source, entry)
        finally:
            with self._condition:
                reserved.entries.remove(entry)
            self._release(entries, leases)
            with self._condition:
                self._evict_surplus()

    def load(self, *sources: ComponentSource, wait: bool = True) -> list[Component]:
        """Components, loaded if need be; they may be evicted at any time. See ``lease``."""
        with self.lease(sources, wait=wait) as components:
            return components

    def has_any(self, keys: Iterable[ComponentKey]) -> bool:
        """Whether one of some components is in memory, or has its place there and is being loaded."""
        with self._condition:
            return any(key in self._entries for key in keys)

    @property
    def keys(self) -> list[ComponentKey]:
        """The keys of the components in memory, the least recently used first."""
        with self._condition:
            return [key for key, entry in self._entries.items() if entry.component is not None]

    @property
    def has_waiters(self) -> bool:
        """Whether a thread waits until others release memory."""
        return bool(self._waiting_for_memory)

    @property
    def is_leased_by_this_thread(self) -> bool:
        """Whether the calling thread leases something, so that others may wait for it."""
        me = threading.get_ident()
        with self._condition:
            return me in self._lease_holders()

    def has_room(self, nbytes: int) -> bool:
        """Whether so many bytes fit beside what is in use, once everything else is evicted."""
        with self._condition:
            used = sum(entry.used_bytes for entry in self._entries.values() if entry.leases)
            return used + sum(reserved.free_bytes for reserved in self._reserved) + nbytes <= self.budget

    def resize(self, key: ComponentKey, nbytes: int) -> None:
        """Note that a component takes more or less memory than before; others are evicted for it, without waiting."""
        with self._condition:
            if (entry := self._entries.get(key)) is not None:
                entry.nbytes = nbytes
                self._evict_surplus()
                self._notify_waiters()

    def evict(self, keys: Collection[ComponentKey] | None = None) -> None:
        """Evict what is not in use: some components, or all."""
        with self._condition:
            idle = [key for key, entry in self._entries.items() if not entry.leases]
            for key in idle:
                if keys is None or key in keys:
                    del self._entries[key]
        release_freed_memory()

    def _acquire(
        self, sources: Mapping[ComponentKey, ComponentSource], room: int, within: int | None, wait: bool
    ) -> tuple[dict[ComponentKey, _PoolEntry], list[_Lease]]:
        with self._condition:
            # This lease needs no memory, so it does not queue behind threads that wait for some. It delays a waiter
            # only if that needs the memory of these same components, and only while such leases overlap without a
            # gap: when one ends, the waiter evicts the component if it is idle. Leases without room are short (to
            # classify, to upscale, to plan a request); pictures reserve room, so they always queue.
            if not sources or (room == 0 and sources.keys() <= self._entries.keys()):
                return self._add_leases(sources, room)
        turn = self._acquisition_lock() if wait else nullcontext()
        with turn, self._condition:
            self._make_room_elsewhere(sources, wait=wait)
            self._evict_for(room, sources, within, wait=wait)
            return self._add_leases(sources, room)

    def _add_leases(
        self, sources: Mapping[ComponentKey, ComponentSource], room: int
    ) -> tuple[dict[ComponentKey, _PoolEntry], list[_Lease]]:
        """Lease components, and reserve memory for those that are not loaded; called with the lock held."""
        entries, leases = dict[ComponentKey, _PoolEntry](), list[_Lease]()
        for key, source in sources.items():
            entry = self._entries.setdefault(key, _PoolEntry.of(source))
            self._entries.move_to_end(key)
            lease = _Lease(0 if leases else room)
            entry.leases.append(lease)
            entries[key] = entry
            leases.append(lease)
        return entries, leases

    def _acquisition_lock(self) -> AbstractContextManager[object]:
        """Lets threads ask for memory one after the other; a thread that has leases does not wait for its turn."""
        with self._condition:
            return nullcontext() if threading.get_ident() in self._lease_holders() else self._waiting_lock

    def _release(self, entries: Mapping[ComponentKey, _PoolEntry], leases: Sequence[_Lease]) -> None:
        """End leases; what nobody could load keeps no place."""
        with self._condition:
            for (key, entry), lease in zip(entries.items(), leases, strict=True):
                entry.leases.remove(lease)
                if entry.component is None and not entry.leases:
                    del self._entries[key]
            self._notify_waiters()

    def _load_once(self, source: ComponentSource, entry: _PoolEntry) -> Component:
        """The component of a leased entry; one thread loads it, and the others wait for that."""
        with self._condition:
            while entry.is_loading:
                self._wait(self._waiting_for_loads, source.nbytes)
            if entry.component is not None:
                return entry.component
            entry.is_loading = True
        try:
            entry.component = source.load()
            self._set_size(source.key, entry, entry.component.nbytes)
        except BaseException:
            self._drop(source, entry)
            raise
        else:
            return entry.component
        finally:
            with self._condition:
                entry.is_loading = False
                self._notify_waiters()

    def _set_size(self, key: ComponentKey, entry: _PoolEntry, nbytes: int) -> None:
        """Put the true size in place of the estimate, and evict for the difference."""
        with self._condition:
            if key.device:
                entry.set_size(key, nbytes)
                return
            if any(entry in reserved.entries for reserved in self._reserved):
                entry.nbytes = nbytes  # the difference is the reservation's
                self._evict_surplus()
                return
            self._evict_for(nbytes - entry.nbytes)  # the estimate stays reserved meanwhile
            entry.nbytes = nbytes

    def _drop(self, source: ComponentSource, entry: _PoolEntry) -> None:
        """Drop what failed to load; its place stays reserved for other threads that lease it, which try again."""
        with self._condition:
            entry.component = None
            entry.set_size(source.key, source.nbytes)
        release_freed_memory()

    def _evict_for(
        self,
        nbytes: int,
        sources: Mapping[ComponentKey, ComponentSource] | None = None,
        within: int | None = None,
        *,
        wait: bool = True,
    ) -> None:
        """Evict until so many bytes more fit the budget; called with the lock held.

        Args:
            nbytes: Bytes.
            sources: What is not evicted; for those that are not in memory their own size is needed as well.
            within: Bytes below the budget for which idle components are evicted too, but nothing is waited for.
            wait: Whether to wait for memory that other threads use.
        """
        sources = sources or {}
        whole = nbytes + sum(self._size_of(key, source) for key, source in sources.items())
        if whole > self.budget:
            raise MemoryBudgetError(
                f"The networks need {_format_gigabytes(whole)}, and the budget is "
                f"{_format_gigabytes(self.budget)}."
            )
        wanted = self.budget if within is None else min(within, self.budget)
        evicted = False
        while (used := self._used_bytes() + (needed := nbytes + self._missing_bytes(sources))) > wanted:
            if (idle := self._least_recent_idle(sources)) is not None:
                del self._entries[idle]
                evicted = True
            elif used > self.budget:
                if not wait:
                    raise self._no_memory_left(needed)
                self._wait_for_memory(needed)
            else:
                break
        if evicted:
            release_freed_memory()

    def _make_room_elsewhere(
        self, sources: Mapping[ComponentKey, ComponentSource], *, wait: bool = True
    ) -> None:
        """Evict on other devices what is idle, for components that are to be loaded there; called with the lock held.

        Args:
            sources: The components.
            wait: Whether to wait for what other threads use there.

        Raises:
            MemoryBudgetError: They are too large for one of the devices.
        """
        for device in {key.device for key in sources} - {""}:
            needed = sum(
                source.nbytes
                for key, source in sources.items()
                if key.device == device and key not in self._entries
            )
            budget = self.budgets_elsewhere[device]
            if needed > budget:
                raise MemoryBudgetError(
                    f"The networks on {device} need {_format_gigabytes(needed)}, and its budget is "
                    f"{_format_gigabytes(budget)}."
                )
            while needed and needed + self.bytes_elsewhere(device) > budget:
                if (idle := self._least_recent_idle(sources, device)) is not None:
                    del self._entries[idle]
                    release_freed_memory()
                elif wait:
                    self._wait(self._waiting_for_memory, needed)
                else:
                    raise self._no_memory_left(needed)

    def _evict_surplus(self) -> None:
        """Evict what is idle and more than may be in memory, without waiting; called with the lock held."""
        most = min([self.budget, *(reserved.within for reserved in self._reserved)])
        evicted = False
        while self._used_bytes() > most and (idle := self._least_recent_idle(())) is not None:
            del self._entries[idle]
            evicted = True
        if evicted:
            release_freed_memory()

    @property
    def loaded_bytes(self) -> int:
        """Bytes of the components in memory."""
        with self._condition:
            return sum(entry.nbytes for entry in self._entries.values() if entry.component is not None)

    def bytes_elsewhere(self, device: str) -> int:
        """Bytes of the components on another device."""
        with self._condition:
            return sum(entry.elsewhere for key, entry in self._entries.items() if key.device == device)

    @property
    def idle_bytes(self) -> int:
        """Bytes of the components in memory that nobody uses."""
        with self._condition:
            return sum(e.nbytes for e in self._entries.values() if e.component is not None and not e.leases)

    def _used_bytes(self) -> int:
        reserved = sum(reserved.free_bytes for reserved in self._reserved)
        return reserved + sum(entry.used_bytes for entry in self._entries.values())

    def _size_of(self, key: ComponentKey, source: ComponentSource) -> int:
        entry = self._entries.get(key)
        return _PoolEntry.of(source).nbytes if entry is None else entry.nbytes

    def _missing_bytes(self, sources: Mapping[ComponentKey, ComponentSource]) -> int:
        missing = (source for key, source in sources.items() if key not in self._entries)
        return sum(_PoolEntry.of(source).nbytes for source in missing)

    def _least_recent_idle(self, exclude: Collection[ComponentKey], device: str = "") -> ComponentKey | None:
        """The least recently used component that nobody uses on a device, by default that of the budget."""
        entries = ((key, entry) for key, entry in self._entries.items() if key.device == device)
        return next((key for key, entry in entries if not entry.leases and key not in exclude), None)

    def _wait_for_memory(self, nbytes: int) -> None:
        """Wait until other threads release memory, if this thread's own leases leave enough of the budget."""
        if self._leased_bytes(threading.get_ident()) + nbytes > self.budget:
            raise self._no_memory_left(nbytes)
        self._wait(self._waiting_for_memory, nbytes)

    def _wait(self, waiting: set[int], nbytes: int) -> None:
        """Wait until other threads release memory or end loading; called with the lock held.

        Args:
            waiting: The set of threads that wait for the same reason, to which this one is added.
            nbytes: Bytes that this thread waits for.

        Raises:
            MemoryBudgetError: All other threads with leases wait as well: a deadlock.
        """
        me = threading.get_ident()
        if self._lease_holders() <= self._waiting_for_memory | self._waiting_for_loads | {me}:
            raise self._no_memory_left(nbytes)
        waiting.add(me)
        try:
            self._condition.wait()
        finally:
            waiting.discard(me)

    def _no_memory_left(self, nbytes: int) -> MemoryBudgetError:
        return MemoryBudgetError(
            f"The networks need {_format_gigabytes(nbytes)} beside those in use, and the budget is "
            f"{_format_gigabytes(self.budget)}."
        )

    def _notify_waiters(self) -> None:
        """Wake all threads that wait, so that they try again."""
        self._waiting_for_memory.clear()
        self._waiting_for_loads.clear()
        self._condition.notify_all()

    def _lease_holders(self) -> set[int]:
        """The threads that lease something."""
        leases = {lease.thread_id for entry in self._entries.values() for lease in entry.leases}
        return leases | {reserved.thread_id for reserved in self._reserved}

    def _leased_bytes(self, thread_id: int) -> int:
        """Bytes that a thread leases or reserves: each component counted once, and its own room beside them."""
        return sum(r.free_bytes for r in self._reserved if r.thread_id == thread_id) + sum(
            entry.nbytes + entry.room_of(thread_id)
            for entry in self._entries.values()
            if entry.is_leased_by(thread_id)
        )


@dataclass(frozen=True)
class Reservation:
    """Memory for components that are leased one after the other.

    Args:
        pool: The pool.
        reserved: What is reserved.
    """

    pool: ModelPool
    reserved: _Reserved

    def lease(self, source: ComponentSource) -> AbstractContextManager[Component]:
        """A component to use within the block, loaded if need be; it does not wait for memory.

        Raises:
            Exception: What loading it raises.
        """
        return self.pool.lease_reserved(source, self.reserved)


def host_budget(setting: int) -> int:
    """The budget of a pool in the machine's memory: the setting memory_budget, or most of the memory if it is 0."""
    return setting or int(HOST_SHARE * host_memory().total)


def release_freed_memory() -> None:
    """Return freed memory to the operating system (with glibc) and to the driver of the accelerator."""
    trim()  # and collects garbage, so that torch has tensors to give back
    release_cached_memory()


def _format_gigabytes(nbytes: int) -> str:
    return f"{nbytes / 1e9:.2f} GB"
