"""Backends: one module for each engine that can run a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from safelight.errors import BackendError
from safelight.plugins import Registry
from safelight.runtime.graph import OnnxGraph

Outputs = dict[str, NDArray[np.float32]]


class CompiledNetwork(Protocol):
    """A compiled network. Thread-safe; a picture's outputs do not depend on the rest of the batch."""

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
    """

    backend: str
    precision: str
    threads: int

    def __str__(self) -> str:
        return f"{self.backend} {self.precision}"


@dataclass(frozen=True)
class Backend:
    """An engine that runs networks.

    Args:
        name: Its name in settings.
        precisions: The arithmetic it offers, as "fp32" or "bf16".
        compile: Module and function, as in "package.module:function". The function takes a graph, a plan and a cache
            folder or None, and returns a ``CompiledNetwork``. It is imported when a network is compiled, since engines
            take a quarter of a second.
        package: The distribution whose version decides whether a measurement still counts.
    """

    name: str
    precisions: tuple[str, ...]
    compile: str
    package: str


BACKENDS = Registry[Backend](
    "backend", "register_backends", BackendError, ("safelight.runtime.backends.builtin",)
)
"""Every backend by name; the first one of those that are as fast wins."""


def compile_network(graph: OnnxGraph, plan: BackendPlan, cache: Path | None = None) -> CompiledNetwork:
    """Compile a graph.

    Args:
        graph: The network.
        plan: Backend, precision and threads.
        cache: Folder for compiled blobs; None caches nothing.

    Raises:
        BackendError: The backend is unknown, not installed, or cannot give the precision.
    """
    backend = BACKENDS[plan.backend]
    try:
        compiled: CompiledNetwork = resolve_name(backend.compile)(graph, plan, cache)
    except ImportError as error:
        raise BackendError(f"{plan.backend} cannot be imported: {error}.") from error
    except RuntimeError as error:  # engines raise it for what they do not support
        raise BackendError(f"{plan} cannot run this network here: {str(error).splitlines()[0]}") from error
    return compiled


def stack_outputs(outputs: list[Outputs]) -> Outputs:
    """Concatenate the outputs of single pictures, each [1, ...], to the outputs of a batch."""
    return {name: np.concatenate([row[name] for row in outputs]) for name in outputs[0]}
