"""The compiled forms of an engine: found in memory or on disk, and made in the background.

Forms are components of the pool: they count against its budget, and the least recently used ones are evicted. Forms
that are not on disk are converted one after the other in the background; the networks stay eager meanwhile.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from safelight.errors import BackendError, MemoryBudgetError, SafelightError
from safelight.logs import get_logger
from safelight.runtime.backends import BackendPlan
from safelight.runtime.compilation.form import CompiledForm, form_engine, form_key
from safelight.runtime.compilation.values import NetworkCall, Structure
from safelight.runtime.compile_cache import CompileCache, FormKey, StoredForm
from safelight.runtime.component import Component, ComponentKey, ComponentSource
from safelight.runtime.pool import ModelPool

Convert = Callable[["Wanted", bool], None]
"""Converts a form and leaves it on disk; the second argument says whether somebody waits. It raises SafelightError."""

MADE_AT_ONCE = 6
"""So many forms of a network are made as soon as they are asked for."""
_log = get_logger(__name__)


@dataclass(frozen=True)
class Wanted:
    """A form that is wanted.

    Args:
        name: The component's name, such as "unet".
        component: What identifies the network.
        call: A call, whose tensors are the example.
        plan: The engine and its precision.
        convert: Converts it.
        least_speedup: How many times as fast as the eager network it has to be.
        nbytes: Bytes of the eager network's weights.
        fallbacks: What is tried, one after the other, if this plan cannot be used.
    """

    name: str
    component: ComponentKey
    call: NetworkCall
    plan: BackendPlan
    convert: Convert
    least_speedup: float = 0.0
    nbytes: int = 0
    fallbacks: tuple[BackendPlan, ...] = ()

    def plans(self) -> Iterator[Wanted]:
        """The form by this plan, and by each that is tried after it."""
        yield self
        for index, plan in enumerate(self.fallbacks):
            yield replace(self, plan=plan, fallbacks=self.fallbacks[index + 1 :])

    @property
    def key(self) -> FormKey:
        """What identifies its files."""
        return form_key(self.component, self.call, self.plan)

    @property
    def pool_key(self) -> ComponentKey:
        """What identifies it in memory: its precision and its threads count too."""
        return _pool_key(self.key, self.plan)

    def __str__(self) -> str:
        """For messages: "unet 2x4x64x64 (openvino fp32)"."""
        return f"{self.name} {self.call.place} ({self.plan})"


@dataclass(frozen=True)
class LoadedForm:
    """A form in memory.

    Args:
        form: Computes.
        result: The structure of its results.
        speedup: How many times as fast as the eager network it was when it was made.
    """

    form: CompiledForm
    result: Structure
    speedup: float


class FormStore:
    """Compiled forms in memory and on disk. Thread-safe.

    Args:
        pool: Where they are kept in memory.
        cache: Where they are kept on disk.
    """

    def __init__(self, pool: ModelPool, cache: CompileCache) -> None:
        self._pool, self.cache = pool, cache
        self._lock = threading.Condition()
        self._queue: deque[Wanted] = deque()
        self._pending: dict[ComponentKey, Wanted] = {}
        self._problems: dict[ComponentKey, str] = {}
        self._thread: threading.Thread | None = None
        self._loaded: dict[tuple[str, str], str] = {}
        self._is_stopped = False
        self._requests: Counter[ComponentKey] = Counter()
        self._shapes: defaultdict[ComponentKey, set[ComponentKey]] = defaultdict(set)

    def backend_of(self, component: ComponentKey) -> str | None:
        """The backend of which a form of a component was loaded before; None if there was none."""
        with self._lock:
            return self._loaded.get((component.digest, component.dtype))

    def lease(self, wanted: Wanted, until: ExitStack) -> LoadedForm | None:
        """A form in memory, or from disk if it is there and fits; None if it has to be made, or cannot be used.

        Args:
            wanted: The form.
            until: When it closes, the lease ends.
        """
        source = self._source(wanted)
        if source is None:
            return None
        try:
            (component,) = until.enter_context(self._pool.lease([source], wait=False))
        except MemoryBudgetError as error:
            _log.warning("%s stays eager: %s", wanted, error)
            return None
        except SafelightError as error:
            self._note_problem(wanted, str(error))
            return None
        loaded: LoadedForm = component.network
        if loaded.speedup < wanted.least_speedup:
            self._note_slow(wanted, loaded.speedup)
            return None
        return loaded

    def request(self, wanted: Wanted) -> None:
        """Make a form in the background, unless it is being made or could not be made.

        If it cannot be made, or is too slow, those by its fallbacks are tried.
        After some forms of a network others are only made if they are asked for again: where each prompt has its own
        shape, most of them never are.
        """
        is_known = bool(self.problem(wanted))
        with self._lock:
            key = wanted.pool_key
            if is_known or key in self._pending or self._is_stopped:
                return
            self._requests[key] += 1
            forms = self._shapes[wanted.component]
            if len(forms) >= MADE_AT_ONCE and key not in forms and self._requests[key] == 1:
                return
            forms.add(key)
            self._pending[key] = wanted
            self._queue.append(wanted)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="compile", daemon=True)
                self._thread.start()

    def make(self, wanted: Wanted) -> None:
        """Make a form now, and wait for it. Its fallbacks are not tried.

        Raises:
            BackendError: It cannot be made; the error names the component.
        """
        try:
            wanted.convert(wanted, True)
        except SafelightError as error:
            raise BackendError(f"{wanted.plan.backend} cannot run the {wanted.name}: {error}") from error

    def problem(self, wanted: Wanted) -> str:
        """Why a form could not be made or loaded, in this process or before; empty if that is not known."""
        with self._lock:
            found = self._problems.get(wanted.pool_key, "")
        return found or ("" if self._pool.has_any([wanted.pool_key]) else self.cache.refusal(wanted.key))

    def wait(self, timeout: float) -> bool:
        """Wait until nothing is being made; returns whether that is so."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._pending, timeout)

    def preload(self, component: ComponentKey, plans: Sequence[BackendPlan], count: int = 2) -> None:
        """Load the most recently used forms of a component from the disk, as far as there is room.

        Args:
            component: The component.
            plans: What may run it, each on a backend of its own.
            count: How many forms.
        """
        by_backend = {plan.backend: plan for plan in plans}
        recent = self.cache.recent(component.digest, component.dtype)
        forms = [key for key in recent if key.backend in by_backend]
        for key in forms[:count]:
            stored = self.cache.find(key)
            source = None if stored is None else self._stored_source(key, by_backend[key.backend], stored)
            if source is not None:
                try:
                    self._pool.load(source, wait=False)
                except SafelightError as error:
                    _log.warning("a compiled form could not be loaded: %s", error)

    def stop(self) -> None:
        """Begin no more forms; the one that is being made is not waited for."""
        with self._lock:
            self._is_stopped = True
            for wanted in self._queue:
                self._pending.pop(wanted.pool_key, None)
            self._queue.clear()
            self._lock.notify_all()

    @property
    def pending(self) -> list[str]:
        """What is being made or waits for it."""
        with self._lock:
            return [str(wanted) for wanted in self._pending.values()]

    @property
    def problems(self) -> dict[ComponentKey, str]:
        """What could not be made, and why."""
        with self._lock:
            return dict(self._problems)

    def _source(self, wanted: Wanted) -> ComponentSource | None:
        """How a form is loaded; None if it is neither in memory nor on disk, is of no use, or does not fit."""
        if self.problem(wanted):
            return None
        if self._pool.has_any([wanted.pool_key]):
            return ComponentSource(wanted.pool_key, 0, lambda: self._load(wanted.key, wanted.plan))
        stored = self.cache.find(wanted.key)
        if stored is None:
            return None
        if stored.speedup < wanted.least_speedup:
            self._note_slow(wanted, stored.speedup)
            return None
        return self._stored_source(wanted.key, wanted.plan, stored)

    def _stored_source(self, key: FormKey, plan: BackendPlan, stored: StoredForm) -> ComponentSource | None:
        nbytes = stored.nbytes // (2 if plan.precision == "bf16" and key.dtype == "fp32" else 1)
        if not self._pool.has_room(nbytes):
            _log.warning("there is not enough memory for a compiled form of %.2f GB", nbytes / 1e9)
            return None
        return ComponentSource(_pool_key(key, plan), nbytes, lambda: self._load(key, plan))

    def _load(self, key: FormKey, plan: BackendPlan) -> Component:
        stored = self.cache.find(key)
        if stored is None:
            raise BackendError("The compiled form was deleted as it was to be loaded.")
        try:
            form = form_engine(plan.backend).load(stored.folder, plan)
        except (RuntimeError, OSError, ValueError) as error:
            self.cache.delete(key)
            first = (str(error).strip().splitlines() or [""])[0]
            raise BackendError(f"{plan} cannot load it: {first}") from error
        with self._lock:
            self._loaded[key.digest, key.dtype] = plan.backend
        return Component(_pool_key(key, plan), LoadedForm(form, stored.result, stored.speedup), form.nbytes)

    def _note_slow(self, wanted: Wanted, speedup: float) -> None:
        self._note_problem(wanted, f"it is {speedup:.2f} times as fast as the eager network")

    def _note_problem(self, wanted: Wanted, problem: str) -> None:
        _log.warning("%s is not used: %s", wanted, problem)
        with self._lock:
            self._problems[wanted.pool_key] = problem

    def _work(self) -> None:
        """Make what is wanted, one after the other; the thread ends when there is no more."""
        while True:
            with self._lock:
                if not self._queue:
                    self._thread = None
                    return
                wanted = self._queue.popleft()
            try:
                for each in wanted.plans():
                    if not self.problem(each):
                        self._make_and_load(each)
                    if not self.problem(each):
                        break
            finally:
                with self._lock:
                    self._pending.pop(wanted.pool_key, None)
                    self._lock.notify_all()

    def _make_and_load(self, wanted: Wanted) -> None:
        try:
            if self.cache.find(wanted.key) is None:
                wanted.convert(wanted, False)
            source = self._source(wanted)
            if source is not None:
                (component,) = self._pool.load(source, wait=False)
                loaded: LoadedForm = component.network
                _log.info("compiled %s: %.2f times as fast as the eager network", wanted, loaded.speedup)
        except MemoryBudgetError as error:  # it is tried again after the next picture
            _log.warning("%s stays eager: %s", wanted, error)
        except SafelightError as error:
            self._note_problem(wanted, str(error))
        except Exception as error:  # noqa: BLE001  the network stays eager, and the log says why
            _log.exception("compiling %s failed", wanted)
            self._note_problem(wanted, f"{type(error).__name__}: {error}")


def _pool_key(key: FormKey, plan: BackendPlan) -> ComponentKey:
    """What identifies a form in memory: its precision and its threads count too."""
    facts = f"{plan.precision} {plan.threads} {plan.device} {key.signature}"
    form = hashlib.sha256(facts.encode()).hexdigest()[:16]
    return ComponentKey(key.digest, key.dtype, plan.backend, key.patches, form)
