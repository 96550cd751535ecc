"""Compile a checkpoint's networks for a size before pictures are generated."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from safelight.errors import BackendError, RunStoppedError
from safelight.generation.request import GenerationRequest

if TYPE_CHECKING:
    from safelight.generation.engine import Engine
    from safelight.runtime.compilation.store import Wanted

_POLL_INTERVAL = 0.2


@dataclass(frozen=True)
class CompiledNetwork:
    """A form that was compiled, or was on disk already.

    Args:
        component: The network's name.
        place: The method and the shapes of its calls.
        plan: Backend and precision.
        size: Bytes on disk; 0 where it could not be compiled.
        speedup: How many times as fast as the eager network it was when it was made.
        problem: Why it could not be compiled; empty if it was.
    """

    component: str
    place: str
    plan: str
    size: int
    speedup: float
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON output."""
        return asdict(self)


def compile_ahead(
    engine: Engine,
    request: GenerationRequest,
    on_progress: Callable[[int, int, str], None] = lambda done, total, name: None,  # noqa: ARG005
    should_stop: Callable[[], bool] = lambda: False,
) -> list[CompiledNetwork]:
    """Compile the networks of a request's checkpoint for its size.

    The machine is measured, if it was not yet. One step of a picture is generated, which tells the shapes of all calls;
    then the form of each is compiled.

    Args:
        engine: An engine whose backend compiles forms.
        request: The checkpoint, size, guidance and mode.
        on_progress: Called with the forms that are done, all of them, and the one that is being compiled.
        should_stop: Called several times a second; True stops it, and what is done stays on disk.

    Raises:
        RunStoppedError: It was stopped.
        BackendError: The engine's backend compiles none of the checkpoint's networks.
        SafelightError: The request or the checkpoint cannot be used.
    """
    engine.measure_backends()
    wanted = engine.wanted_forms(request)
    if not wanted:
        raise BackendError("This backend compiles none of the checkpoint's networks here.")
    found = []
    for index, each in enumerate(wanted):
        on_progress(index, len(wanted), str(each))
        thread = threading.Thread(target=lambda each=each: found.append(_compile(engine, each)), daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_POLL_INTERVAL)
            if should_stop():
                raise RunStoppedError
    on_progress(len(wanted), len(wanted), "")
    return found


def _compile(engine: Engine, wanted: Wanted) -> CompiledNetwork:
    """Compile a form by the first plan that can."""
    for each in wanted.plans():
        found = _compile_plan(engine, each)
        if not found.problem:
            break
    return found


def _compile_plan(engine: Engine, wanted: Wanted) -> CompiledNetwork:
    try:
        engine.forms.make(wanted)
    except BackendError as error:
        return CompiledNetwork(wanted.name, wanted.call.place, str(wanted.plan), 0, 0.0, error.message)
    stored = engine.forms.cache.find(wanted.key)
    size, speedup = (0, 0.0) if stored is None else (stored.nbytes, stored.speedup)
    return CompiledNetwork(wanted.name, wanted.call.place, str(wanted.plan), size, round(speedup, 2))
