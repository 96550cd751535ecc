"""Backends: one module for each engine that can run a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from safelight.errors import BackendError
from safelight.plugins import Registry
from safelight.runtime.graph import OnnxGraph

if TYPE_CHECKING:
    from torch import nn

Outputs = dict[str, NDArray[np.float32]]


class CompiledNetwork(Protocol):
    """A compiled graph. Thread-safe; a picture's outputs do not depend on the rest of the batch."""

    def run(self, pixels: NDArray[np.uint8]) -> Outputs:
        """Run uint8 pixels [batch, height, width, 3]; the first axis of each output is the batch."""


@dataclass(frozen=True)
class BackendPlan:
    """How a network is to run.

    Args:
        backend: A name of ``BACKENDS``.
        precision: One of the backend's, for example "fp32".
        threads: Threads for the network, at least 1. On OpenVINO each thread is a stream of its own: as many pictures
            are computed at once, and a picture's result does not depend on the others, to the last bit.
        device: Where a form or a graph computes, in torch's syntax.
    """

    backend: str
    precision: str
    threads: int
    device: str = "cpu"

    def __str__(self) -> str:
        return f"{self.backend} {self.precision}" + ("" if self.device == "cpu" else f" on {self.device}")


@dataclass(frozen=True)
class Backend:
    """An engine that runs networks: classifiers, which are ONNX graphs, and a checkpoint's torch modules.

    There are two ways to run torch modules. ``compile`` puts something in a module's place once, as it is loaded.
    ``forms`` is for engines with static shapes: a module stays eager, and for each shape of its calls a form is
    compiled beside it, which is used from the next picture on (``runtime.compilation``).

    Args:
        name: Its name in settings.
        precisions: The arithmetic it offers, as "fp32" or "bf16". That of forms depends on the device.
        compile: Module and function, as in "package.module:function". The function takes an ``OnnxGraph`` or a torch
            module, a plan, and a cache folder or None. It is imported when a network is compiled, since engines take
            a quarter of a second. For a graph it returns a ``CompiledNetwork``; for a module, which is on its device
            in its precision and in evaluation mode, something with the same attributes and results, which takes its
            place in diffusers' pipelines (``runtime.proxy.NetworkProxy`` is a base for it). A backend that needs
            example inputs compiles at the first call. Empty for a backend that has nothing but forms.
        package: The distribution whose version decides whether a measurement still counts.
        graphs: Whether it compiles ONNX graphs.
        quantized_graphs: Whether it computes in integers what is between QuantizeLinear and DequantizeLinear in them;
            a plan's precision is then ``INT8``.
        components: Patterns of the components of a checkpoint that it compiles, such as ("unet", "text_encoder*").
            The other components stay eager.
        patchable: Whether a ``runtime.component.Patch`` changes what its torch modules compute: it gets the network
            that ``compile`` returned, and replaces weights and submodules by their names. False for an engine that
            copies the weights; a picture that needs a patch is then refused. Where there are forms, what needs a
            patch is computed by the eager network.
        forms: Module and class of its ``runtime.compilation.form.FormEngine``, as in "package.module:Class"; empty for
            an engine that compiles whole modules.
        devices: The kinds of devices that its forms compute on, as torch names them, with the precisions there.
        native: Whether its forms are machine code, for processors or accelerators of one kind only.
        copies: How many times a process that makes a form has the network's weights in memory.
        programs: Programs that it may need. Which of them are installed decides, beside the version of the package,
            whether a measurement still counts.
    """

    name: str
    precisions: tuple[str, ...]
    compile: str
    package: str
    graphs: bool = True
    quantized_graphs: bool = False
    components: tuple[str, ...] = ()
    patchable: bool = False
    forms: str = ""
    devices: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    native: bool = False
    copies: float = 2.5
    programs: tuple[str, ...] = ()

    def form_precisions(self, device: str) -> tuple[str, ...]:
        """The precisions of its forms on a device in torch's syntax; none if it has no forms there."""
        return self.devices.get(device.partition(":")[0], ())

    def runs_in(self, precision: str) -> bool:
        """Whether it runs networks of checkpoints in a precision, on whatever device."""
        offered = self.devices.values() if self.forms else [self.precisions]
        return any(precision in each for each in offered)

    def computes(self, component: str) -> bool:
        """Whether it compiles the component of a checkpoint with this name."""
        return any(fnmatch(component, pattern) for pattern in self.components)


EAGER = "eager"
"""The name of the backend that runs torch modules as they are."""
INT8 = "int8"
"""The precision of quantized graphs; automatic choices never take it."""
AUTO = "auto"
"""The value of settings that lets a measurement decide."""

BACKENDS = Registry[Backend](
    "backend", "register_backends", BackendError, ("safelight.runtime.backends.builtin",), name_field="name"
)
"""Every backend by name; the first one of those that are as fast wins."""


def graph_backend(name: str) -> Backend:
    """The backend with a name, to run ONNX graphs.

    Raises:
        BackendError: There is none, or it does not run ONNX graphs.
    """
    backend = BACKENDS[name]
    if not backend.graphs:
        names = " and ".join(each.name for each in graph_backends())
        raise BackendError(f"{name} does not run classifiers.", hint=f"Those that do: {names}.")
    return backend


def graph_backends() -> list[Backend]:
    """The backends that run ONNX graphs, in the order of their registration."""
    return [backend for backend in BACKENDS.values() if backend.graphs]


def checkpoint_backend(name: str, precision: str | None = None) -> Backend:
    """The backend with a name, to run the networks of checkpoints.

    Args:
        name: Its name.
        precision: In which it is to run them; None if that is not known yet.

    Raises:
        BackendError: There is none, it runs no component of a checkpoint, or not in this precision.
    """
    backend = BACKENDS[name]
    if not backend.components:
        names = " and ".join(each.name for each in BACKENDS.values() if each.components)
        raise BackendError(f"{name} does not run checkpoints.", hint=f"Those that do: {names}.")
    if precision is not None and not backend.runs_in(precision):
        raise BackendError(f"{name} does not run checkpoints in {precision}.")
    return backend


@overload
def compile_network(source: OnnxGraph, plan: BackendPlan, cache: Path | None = None) -> CompiledNetwork: ...
@overload
def compile_network(source: nn.Module, plan: BackendPlan, cache: Path | None = None) -> Any: ...
def compile_network(source: OnnxGraph | nn.Module, plan: BackendPlan, cache: Path | None = None) -> Any:
    """Compile a graph or a torch module.

    Args:
        source: The network.
        plan: Backend, precision and threads.
        cache: Folder for compiled blobs; None caches nothing.

    Raises:
        BackendError: The backend is unknown, not installed, does not run such networks, or cannot give the precision.
    """
    backend = graph_backend(plan.backend) if isinstance(source, OnnxGraph) else BACKENDS[plan.backend]
    try:
        return resolve_name(backend.compile)(source, plan, cache)
    except ImportError as error:
        raise BackendError(f"{plan.backend} cannot be imported: {error}.") from error
    except RuntimeError as error:  # engines raise it for what they do not support
        raise BackendError(f"{plan} cannot run this network here: {str(error).splitlines()[0]}") from error


def stack_outputs(outputs: list[Outputs]) -> Outputs:
    """Concatenate the outputs of single pictures, each [1, ...], to the outputs of a batch."""
    return {name: np.concatenate([row[name] for row in outputs]) for name in outputs[0]}
