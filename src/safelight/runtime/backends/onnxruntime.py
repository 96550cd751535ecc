"""ONNX Runtime: the reference arithmetic, and the engine for machines that OpenVINO does not support."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from safelight.errors import BackendError
from safelight.runtime.backends import BackendPlan, Outputs, stack_outputs
from safelight.runtime.graph import PIXELS, OnnxGraph


@dataclass(frozen=True)
class OnnxRuntimeNetwork:
    """An ONNX Runtime session that runs one picture at a time, so that results do not depend on the batch."""

    session: Any
    outputs: tuple[str, ...]

    def run(self, pixels: NDArray[np.uint8]) -> Outputs:
        """See ``CompiledNetwork.run``."""
        return stack_outputs([self._run_one(pixels[i : i + 1]) for i in range(len(pixels))])

    def _run_one(self, pixels: NDArray[np.uint8]) -> Outputs:
        return dict(zip(self.outputs, self.session.run(self.outputs, {PIXELS: pixels}), strict=True))


def compile_onnxruntime(graph: OnnxGraph, plan: BackendPlan, cache: Path | None = None) -> OnnxRuntimeNetwork:  # noqa: ARG001
    """Open a session on the CPU provider.

    Raises:
        BackendError: Another precision than fp32 was asked for.
    """
    if plan.precision != "fp32":
        raise BackendError(f"onnxruntime runs a network in fp32 only, not in {plan.precision}.")
    options = ort.SessionOptions()
    options.intra_op_num_threads = plan.threads
    options.log_severity_level = 3
    # Spinning threads would take the cores from threads that decode pictures meanwhile.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(graph.onnx, options, providers=["CPUExecutionProvider"])
    return OnnxRuntimeNetwork(session, graph.outputs)
