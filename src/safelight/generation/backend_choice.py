"""Which backend computes the calls of a checkpoint's networks, by component, shape and precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from safelight.errors import BackendError
from safelight.generation.control.planning import NETWORK_PREFIX
from safelight.generation.quality import Quality
from safelight.generation.record import Machine
from safelight.runtime.backends import AUTO, BACKENDS, EAGER, Backend, BackendPlan
from safelight.runtime.compilation.picture_network import Choice
from safelight.runtime.compilation.speed import WORTHWHILE, Speeds
from safelight.runtime.compilation.store import Wanted
from safelight.runtime.compilation.values import NetworkCall
from safelight.runtime.component import Component

AUTOMATIC = ("unet", "transformer", "vae", "upscaler")
"""The components that auto compiles; text encoders take a hundredth of a picture's time, and their results are kept.
So does it control networks, which are as many as a picture has."""
LEAST_SPEEDUP = 1.05
"""A form is used by auto if it was so many times as fast as the eager network when it was made."""


@dataclass(frozen=True)
class BackendPolicy:
    """Decides what computes the calls of a picture's networks.

    Args:
        backend: The setting generation_backend: auto, eager, or a backend with compiled forms.
        device: The device that generates.
        recorded: What a picture's record says, which is to be reproduced; None for a new picture.
        speeds: Returns what was measured on this machine, None if nothing was yet.
        collect: As in ``picture_network.Forms``.
    """

    backend: str
    device: torch.device
    recorded: Machine | None = None
    speeds: Callable[[], Speeds | None] = lambda: None
    collect: Callable[[Wanted], None] | None = None

    def considers(self, component: str) -> bool:
        """Whether calls of a component may be computed by a compiled form."""
        if self.recorded is not None:
            return any(compiles(name, component, self.device) for name in self.recorded.all_backends)
        if self.backend == AUTO:
            return _is_automatic(component) and any(_candidates(component, self.device))
        return compiles(self.backend, component, self.device)

    def recorded_backend(self, component: str) -> str | None:
        """What ran all calls of a component, as the record says; None for a new picture."""
        return None if self.recorded is None else self.recorded.ran(component, "")[0]

    def preferred(self, component: str, precision: str) -> list[BackendPlan]:
        """What may compute a component whose forms are on disk, best first."""
        if self.backend == AUTO:
            return rank_plans(component, precision, self.device, self.speeds())
        return [_plan(self.backend, precision, self.device)]

    def choose(self, name: str, component: Component, call: NetworkCall) -> Choice:
        """What is to compute a call; called once for each shape of a picture's calls.

        Args:
            name: The component's name.
            component: The eager component.
            call: The call.
        """
        precision = component.key.dtype
        if self.recorded is not None:
            backend, precision = self.recorded.ran(name, call.place)
            usable = backend if compiles(backend, name, self.device) else EAGER
            return Choice(_plan(usable, precision, self.device), required=True, wait=True)
        if self.backend != AUTO:
            offered = compiles(self.backend, name, self.device)
            offered = offered and precision in BACKENDS[self.backend].form_precisions(str(self.device))
            return Choice(_plan(self.backend if offered else EAGER, precision, self.device), required=True)
        best, *others = rank_plans(name, precision, self.device, self.speeds())
        return Choice(best, least_speedup=LEAST_SPEEDUP, fallbacks=tuple(others))


def rank_plans(
    component: str, precision: str, device: torch.device, speeds: Speeds | None
) -> list[BackendPlan]:
    """What is to compute a component in a precision, if the user leaves it open: at least one plan, the best first.

    The backends that are worth compiling for, as far as was measured; before that the first one, since the process
    that compiles measures first. Eager alone if there are none. Whether a form of a certain shape is used then depends
    on its own time beside the eager network's (``StoredForm.speedup``).

    Args:
        component: The component's name.
        precision: The class of precision: fp32 for pictures that are exact.
        device: The device that generates.
        speeds: What was measured on this machine, None if nothing was yet.
    """
    offered = [
        each.name for each in _candidates(component, device) if precision in each.form_precisions(str(device))
    ]
    if not _is_automatic(component):
        offered = []
    if speeds is None:
        offered = offered[:1]
    else:
        measured = {name: speeds.speedup(name, precision) for name in offered}
        offered = sorted(
            (name for name in offered if measured[name] >= WORTHWHILE), key=lambda name: -measured[name]
        )
    return [_plan(name, precision, device) for name in offered or [EAGER]]


def bf16_pays(backend: str, component: str, device: torch.device, speeds: Speeds | None) -> bool:
    """Whether bf16 is decisively faster than fp32, each on the backend that computes a component in it.

    PyTorch must not be slower in bf16 either: it computes what is not compiled.

    Args:
        backend: The setting generation_backend.
        component: The component's name.
        device: The device that generates.
        speeds: What was measured on this machine, None if nothing was yet.
    """
    if device.type != "cpu" or speeds is None or speeds.speedup(EAGER, "bf16", over="fp32") < 1:
        return False
    return _bf16_speedup(backend, component, device, speeds) >= WORTHWHILE


def explain_precision(
    quality: Quality, precision: str, backend: str, device: str, speeds: Speeds | None
) -> str:
    """In which precision denoisers and autoencoders compute, and why.

    Args:
        quality: The level, as the setting generation_quality.
        precision: The setting generation_precision.
        backend: The setting generation_backend.
        device: The device that generates, as torch names it.
        speeds: What was measured on this machine, None if nothing was yet.
    """
    if quality == "exact":
        return "fp32, as the quality exact says"
    if precision != AUTO:
        return f"{precision}, as the setting generation_precision says"
    on = torch.device(device)
    if on.type != "cpu":
        return "each family's precisions"
    if speeds is None:
        measured = "it is measured after the first picture" if backend == AUTO else "only auto measures"
        return f"fp32, since nothing was measured yet ({measured})"
    ratio = _bf16_speedup(backend, AUTOMATIC[0], on, speeds)
    if bf16_pays(backend, AUTOMATIC[0], on, speeds):
        return f"bf16 where the family allows it, since it computes {ratio:.1f} times as fast as fp32"
    eager = speeds.speedup(EAGER, "bf16", over="fp32")
    return f"fp32, since bf16 computes {ratio:.2f} times as fast ({eager:.2f} times by PyTorch)"


def _bf16_speedup(backend: str, component: str, device: torch.device, speeds: Speeds) -> float:
    """How many times as fast as the best choice in fp32 the best one in bf16 computes; 0 if that is not known."""

    def gflops(precision: str) -> float:
        ranked = rank_plans(component, precision, device, speeds)
        plan = ranked[0] if backend == AUTO else _plan(backend, precision, device)
        return speeds.gflops.get(f"{plan.backend} {precision}", 0.0)

    exact = gflops("fp32")
    return gflops("bf16") / exact if exact else 0.0


def explain_choice(backend: str, precision: str, device: torch.device, speeds: Speeds | None) -> str:
    """What computes denoisers, autoencoders and upscalers, and why, as the end of a sentence."""
    if backend != AUTO:
        return f"{backend} runs the networks, as the setting generation_backend says"
    name = "fp32" if precision == AUTO else precision
    plan, *others = rank_plans(AUTOMATIC[0], name, device, speeds)
    eager = "PyTorch runs the networks as they are (eager)"
    if not any(_candidates(AUTOMATIC[0], device)):
        return f"{eager}, since auto takes no other backend on {device.type}"
    if speeds is None:
        return f"{eager} until it was measured whether another backend is faster, after the first picture"
    measured = ", ".join(f"{name} {value:g}" for name, value in sorted(speeds.gflops.items()))
    ratios = "; ".join((f"measured GFLOP/s: {measured}", *speeds.problems.values()))
    if plan.backend == EAGER:
        return f"{eager}, since no other backend is {WORTHWHILE} times as fast in {name} ({ratios})"
    ratio = speeds.speedup(plan.backend, name)
    instead = f", or {' or '.join(each.backend for each in others)} what it cannot compile" if others else ""
    return (
        f"{plan.backend} runs denoisers, autoencoders and upscalers once they are compiled for a size, "
        f"since it computes {ratio:.1f} times as fast as PyTorch in {name} ({ratios}){instead}"
    )


def check_device(backend: str, device: torch.device) -> None:
    """Refuse a backend whose forms do not compute on a device.

    Raises:
        BackendError: They do not.
    """
    if backend == AUTO:
        return
    found = BACKENDS[backend]
    if found.forms and device.type not in found.devices:
        raise BackendError(
            f"{backend} runs checkpoints on {' and '.join(found.devices)}, not on {device}.",
            hint=f"Set device to {next(iter(found.devices))}, or generation_backend to {AUTO}.",
        )


def compiles(backend: str, component: str, device: torch.device) -> bool:
    """Whether a backend, which may not be registered any more, compiles forms of a component on a device."""
    found = BACKENDS.get(backend)
    if found is None or not found.forms:
        return False
    return device.type in found.devices and found.computes(component)


def _is_automatic(component: str) -> bool:
    return component in AUTOMATIC or component.startswith(NETWORK_PREFIX)


def _candidates(component: str, device: torch.device) -> Iterator[Backend]:
    """What auto may choose from: on accelerators nothing, where compiling would take their memory from the picture."""
    if device.type != "cpu":
        return iter(())
    return (each for each in BACKENDS.values() if compiles(each.name, component, device))


def _plan(backend: str, precision: str, device: torch.device) -> BackendPlan:
    return BackendPlan(backend, precision, torch.get_num_threads(), str(device))
