"""A compiled form of a network's call, the engines that make forms, and the call of a form in the network's place."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from safelight.errors import BackendError
from safelight.runtime.backends import BACKENDS, BackendPlan
from safelight.runtime.compilation.values import CallModule, NetworkCall, Structure, flatten, unflatten
from safelight.runtime.compile_cache import CompileCache, FormKey, StoredForm
from safelight.runtime.component import ComponentKey
from safelight.runtime.devices import device_of
from safelight.runtime.machine import inspect_machine
from safelight.runtime.patching import patched

TOLERANCE = {"fp32": 1e-3, "bf16": 0.1, "fp16": 0.1}
"""Largest difference of a form's results from the eager network's, as a share of their norm: one that exceeds it
computes something else, since engines differ by a hundredth of it."""


class CompiledForm(Protocol):
    """A network's call with static shapes, in memory. Called by one thread at a time."""

    @property
    def nbytes(self) -> int:
        """Bytes that its weights take."""

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The tensors of the result, of those of the arguments."""


class FormEngine(Protocol):
    """An engine that compiles networks with static shapes."""

    def check(self) -> None:
        """Refuse a machine that lacks what ``convert`` needs, beside the packages.

        Raises:
            BackendError: What is missing.
        """

    def convert(self, call: CallModule, example: tuple[Tensor, ...], folder: Path) -> None:
        """Write what is needed to load the form to an empty folder.

        Raises:
            BackendError: The engine cannot convert it.
        """

    def load(self, folder: Path, plan: BackendPlan) -> CompiledForm:
        """The form in memory, from the files that ``convert`` wrote.

        Raises:
            RuntimeError, OSError, BackendError: The files cannot be used.
        """


def form_engine(backend: str) -> FormEngine:
    """The engine of a backend that compiles forms.

    Raises:
        BackendError: It cannot be imported.
    """
    try:
        engine: FormEngine = resolve_name(BACKENDS[backend].forms)()
    except ImportError as error:
        raise BackendError(f"{backend} cannot be imported: {error}.") from error
    return engine


def form_key(component: ComponentKey, call: NetworkCall, plan: BackendPlan) -> FormKey:
    """What identifies a form of a component's call."""
    backend = BACKENDS[plan.backend]
    return FormKey(
        component.digest,
        component.dtype,
        (*component.patches, *call.patch_identities),
        call.signature,
        plan.backend,
        backend.package,
        _machine(plan.device) if backend.native else "",
    )


def make_form(
    network: nn.Module, component: ComponentKey, call: NetworkCall, plan: BackendPlan, cache: CompileCache
) -> StoredForm:
    """Convert a network's call, compare the result with the eager network's, and keep the form on disk.

    That an engine refuses a call is kept as well.

    Args:
        network: The eager network, on the plan's device, as the call's tensors are.
        component: What identifies it.
        call: A call, whose tensors are the example.
        plan: The engine and its precision.
        cache: Where it is kept.

    Raises:
        BackendError: The machine lacks what the engine needs, or the engine cannot convert it, or computes something
            else.
    """
    engine, key = form_engine(plan.backend), form_key(component, call, plan)
    engine.check()

    def make(folder: Path) -> tuple[Structure, dict[str, Any]]:
        module = CallModule(network, call.method, call.structure).eval()
        with torch.no_grad(), patched(network, call.patches):
            result, expected = flatten(module.call(call.tensors))
            try:
                form = _convert(engine, module, call.tensors, expected, folder, plan)
            except BackendError as error:
                cache.refuse(key, f"{type(network).__name__} {call.place} ({plan})", error.message)
                raise
            seconds = _alternate(
                lambda: module.call(call.tensors), lambda: form.run(call.tensors), device=plan.device
            )
        return result, {"plan": str(plan), "eager_seconds": seconds[0], "form_seconds": seconds[1]}

    return cache.write(key, make)


@dataclass(frozen=True)
class FormNetwork:
    """A form in the place of a network's method.

    Args:
        network: The eager network, whose parameters' names and defaults count; its weights are not used.
        method: The method.
        form: The form in memory.
        result: The structure of its results.
    """

    network: nn.Module
    method: str
    form: CompiledForm
    result: Structure

    def __call__(self, *args: object, **kwargs: object) -> Any:
        """The method's result."""
        return self.compute(NetworkCall.of(self.network, self.method, args, kwargs))

    def compute(self, call: NetworkCall) -> Any:
        """The result of a call in plain form."""
        return unflatten(self.result, iter(self.form.run(call.tensors)))


def _convert(
    engine: FormEngine,
    module: CallModule,
    example: tuple[Tensor, ...],
    expected: Sequence[Tensor],
    folder: Path,
    plan: BackendPlan,
) -> CompiledForm:
    """The form of a call, whose result is the expected one.

    Raises:
        BackendError: The engine cannot convert it, or computes something else.
    """
    engine.convert(module, example, folder)
    try:
        form = engine.load(folder, plan)
        computed = form.run(example)
    except (RuntimeError, OSError, ValueError) as error:
        raise BackendError(f"{plan} cannot run it: {_first_line(error)}") from error
    _compare(computed, expected, plan)
    return form


def _machine(device: str) -> str:
    """What machine code for a device depends on."""
    if device == "cpu":
        machine = inspect_machine()
        return " ".join((machine.processor, *machine.vector_units))
    return device_of(torch.device(device)).title


def _alternate(*runs: Callable[[], object], device: str) -> list[float]:
    """The least seconds of each run, in alternating rounds: one for slow ones, three for others."""
    seconds = [float("inf")] * len(runs)
    for _ in range(3):
        for index, run in enumerate(runs):
            started = time.perf_counter()
            run()
            device_of(torch.device(device)).synchronize()
            seconds[index] = min(seconds[index], time.perf_counter() - started)
        if max(seconds) > 1:
            break
    return seconds


def _compare(computed: Sequence[Tensor], expected: Sequence[Tensor], plan: BackendPlan) -> None:
    """Refuse results that are not the eager network's.

    Raises:
        BackendError: They are not.
    """
    if len(computed) != len(expected):
        raise BackendError(f"{plan} returns {len(computed)} tensors instead of {len(expected)}.")
    for ours, theirs in zip(computed, expected, strict=True):
        if not theirs.is_floating_point():
            if not torch.equal(ours.to(theirs.dtype), theirs):
                raise BackendError(f"{plan} returns other numbers than the eager network.")
            continue
        reference = theirs.float()
        error = float((ours.float() - reference).norm() / reference.norm().clamp_min(1e-12))
        if not error <= TOLERANCE[plan.precision]:  # NaN too
            raise BackendError(
                f"{plan} differs from the eager network by {error:.1%} of the result, "
                f"and {TOLERANCE[plan.precision]:.1%} are allowed."
            )


def last_line(error: Exception) -> str:
    """The last line of an error's message, where engines say what was wrong; the error's name if there is none."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
