"""Backends: one module for each engine that can run a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from safelight.errors import BackendError
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
        backend: "openvino" or "onnxruntime".
        precision: "fp32" or "bf16".
        threads: Threads for the network, at least 1. On OpenVINO each thread is a stream of its own: as many pictures
            are computed at once, and a picture's result does not depend on the others, to the last bit.
    """

    backend: str
    precision: str
    threads: int

    def __str__(self) -> str:
        return f"{self.backend} {self.precision}"


def compile_network(graph: OnnxGraph, plan: BackendPlan, cache: Path | None = None) -> CompiledNetwork:
    """Compile a graph.

    Args:
        graph: The network.
        plan: Backend, precision and threads.
        cache: Folder for compiled blobs; None caches nothing.

    Raises:
        BackendError: The backend is unknown, not installed, or cannot give the precision.
    """
    try:
        return _load_backend(plan.backend)(graph, plan, cache)
    except ImportError as error:
        raise BackendError(f"{plan.backend} cannot be imported: {error}.") from error
    except RuntimeError as error:  # engines raise it for what they do not support
        raise BackendError(f"{plan} cannot run this network here: {str(error).splitlines()[0]}") from error


def _load_backend(name: str) -> Callable[[OnnxGraph, BackendPlan, Path | None], CompiledNetwork]:
    # A late import: each engine takes a quarter of a second.
    if name == "openvino":
        from safelight.runtime.backends.openvino import compile_openvino

        return compile_openvino
    if name == "onnxruntime":
        from safelight.runtime.backends.onnxruntime import compile_onnxruntime

        return compile_onnxruntime
    raise BackendError(f"There is no backend {name!r}; there are openvino and onnxruntime.")


def stack_outputs(outputs: list[Outputs]) -> Outputs:
    """Concatenate the outputs of single pictures, each [1, ...], to the outputs of a batch."""
    return {name: np.concatenate([row[name] for row in outputs]) for name in outputs[0]}
