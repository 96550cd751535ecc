"""Choose backend and precision of a network by timing each candidate.

Whether bf16 is faster or far slower than fp32 depends on the processor's instruction sets, so nothing is assumed: each
candidate is compiled and timed on this machine, and a candidate that deviates from the reference arithmetic is
rejected, however fast. The choice is cached until the network, the processor or an engine changes.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safelight.atomic_write import atomic_write
from safelight.errors import BackendError, OutputError
from safelight.runtime.backends import (
    INT8,
    Backend,
    BackendPlan,
    CompiledNetwork,
    compile_network,
    graph_backend,
    graph_backends,
)
from safelight.runtime.graph import PROBABILITIES, OnnxGraph
from safelight.runtime.machine import inspect_machine, package_version, usable_cores

PROBABILITY_TOLERANCE = 0.01
"""Largest allowed difference of a probability of a probe picture."""
LOG_ODDS_TOLERANCE = 0.15
"""Largest allowed root mean square error in log-odds. The probe pictures all score near 0, where arithmetic hardly
changes a probability; log-odds show the error that a score of one half would have (a quarter of the log-odds error)."""


@dataclass(frozen=True)
class Measurement:
    """The measurement of one candidate.

    Args:
        plan: The candidate.
        milliseconds: Time per picture with all threads busy; infinite if it could not run.
        probability_error: Largest difference of a probability from the reference.
        log_odds_error: Root mean square difference of log-odds from the reference.
        problem: Why it could not run, or empty.
    """

    plan: BackendPlan
    milliseconds: float
    probability_error: float = 0.0
    log_odds_error: float = 0.0
    problem: str = ""

    @property
    def matches_reference(self) -> bool:
        """Whether it ran and stayed within both tolerances."""
        within = self.probability_error <= PROBABILITY_TOLERANCE and self.log_odds_error <= LOG_ODDS_TOLERANCE
        return not self.problem and within

    def to_dict(self) -> dict[str, object]:
        """The trial for JSON output."""
        milliseconds = round(self.milliseconds, 3) if math.isfinite(self.milliseconds) else None
        return asdict(self) | {"milliseconds": milliseconds, "faithful": self.matches_reference}


def candidate_plans(backend: str, precision: str, threads: int) -> list[BackendPlan]:
    """All plans that match a backend and a precision; "auto" matches any but int8, 0 threads mean one per usable core.

    Raises:
        BackendError: There is no such backend, it does not run classifiers, or it does not offer the precision.
    """
    count = threads or usable_cores()
    backends = graph_backends() if backend == "auto" else [graph_backend(backend)]
    plans = [
        BackendPlan(each.name, offered, count) for each in backends for offered in _offered(each, precision)
    ]
    fits = [plan for plan in plans if precision in ("auto", plan.precision)]
    if not fits:
        raise BackendError(f"{backend} does not run a network in {precision}.")
    return fits


def _offered(backend: Backend, precision: str) -> tuple[str, ...]:
    if precision == INT8:
        return (INT8,) if backend.quantized_graphs else ()
    return backend.precisions


def choose_fastest_plan(
    graph: OnnxGraph,
    plans: list[BackendPlan],
    images: NDArray[np.uint8],
    cache: Path | None,
    on_message: Callable[[str], None] = lambda _: None,
) -> BackendPlan:
    """Choose the fastest plan whose results match the reference.

    Args:
        graph: The network.
        plans: Candidates; a single one is returned unmeasured, since the user named it.
        images: uint8 [n, height, width, 3], for timing and comparison.
        cache: Folder for choices and compiled blobs; None caches nothing.
        on_message: Called with a message for the user when candidates are measured.

    Raises:
        BackendError: No candidate ran faithfully.
    """
    if settled := known_plan(graph, plans, cache):
        return settled
    on_message("Measuring the fastest way to run this network here (once) …")
    trials = measure_plans(graph, plans, images, cache)
    faithful = [trial for trial in trials if trial.matches_reference]
    if not faithful:
        raise BackendError("; ".join(f"{t.plan}: {t.problem or 'strays from the reference'}" for t in trials))
    best = min(faithful, key=lambda trial: trial.milliseconds)
    if cache:
        _write_choice(_choice_path(graph, plans, cache), best.plan, trials)
    return best.plan


def known_plan(graph: OnnxGraph, plans: list[BackendPlan], cache: Path | None) -> BackendPlan | None:
    """The plan that is known without measuring: the only candidate, or the cached choice; None otherwise."""
    if len(plans) == 1:
        return plans[0]
    return _read_choice(_choice_path(graph, plans, cache), plans) if cache else None


def measure_plans(
    graph: OnnxGraph, plans: Iterable[BackendPlan], images: NDArray[np.uint8], cache: Path | None = None
) -> list[Measurement]:
    """Run every plan and compare it with ONNX Runtime in fp32."""
    reference = compile_network(graph, BackendPlan("onnxruntime", "fp32", usable_cores())).run(images)[
        PROBABILITIES
    ]
    return [_measure_plan(graph, plan, images, reference, cache) for plan in plans]


def _measure_plan(
    graph: OnnxGraph,
    plan: BackendPlan,
    images: NDArray[np.uint8],
    reference: NDArray[np.float32],
    cache: Path | None,
) -> Measurement:
    try:
        network = compile_network(graph, plan, cache)
        answer = network.run(images)[PROBABILITIES]
        milliseconds = _time_network(network, images)
    except (BackendError, RuntimeError) as error:  # engines report what they lack as RuntimeError
        return Measurement(plan, math.inf, problem=str(error).splitlines()[0])
    shift = np.abs(answer - reference)
    drift = _log_odds(answer) - _log_odds(reference)
    return Measurement(plan, milliseconds, float(shift.max()), float(np.sqrt(np.mean(drift**2))))


def _time_network(network: CompiledNetwork, images: NDArray[np.uint8], rounds: int = 3) -> float:
    """Milliseconds per picture: the minimum over the rounds, since noise only adds time."""
    best = math.inf
    for _ in range(rounds):
        start = time.perf_counter()
        network.run(images)
        best = min(best, time.perf_counter() - start)
    return best * 1000 / len(images)


def _log_odds(probability: NDArray[np.float32]) -> NDArray[np.float64]:
    p = np.clip(probability.astype(np.float64), 1e-7, 1 - 1e-7)
    return np.asarray(np.log(p) - np.log1p(-p))


def _choice_path(graph: OnnxGraph, plans: list[BackendPlan], cache: Path) -> Path:
    machine = inspect_machine()
    engines = {backend.name: package_version(backend.package) for backend in graph_backends()}
    facts = [graph.digest, machine.processor, machine.vector_units, engines, [asdict(plan) for plan in plans]]
    return cache / "probe" / f"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]}.json"


def _read_choice(path: Path, plans: list[BackendPlan]) -> BackendPlan | None:
    try:
        chosen = BackendPlan(**json.loads(path.read_text())["chosen"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # never measured, or a damaged cache: measure again
    return chosen if chosen in plans else None


def _write_choice(path: Path, plan: BackendPlan, trials: list[Measurement]) -> None:
    body = {"chosen": asdict(plan), "trials": [trial.to_dict() for trial in trials]}
    # If the choice cannot be cached, the next start measures again.
    with suppress(OutputError), atomic_write(path) as temporary:
        temporary.write_text(json.dumps(body, indent=1))
