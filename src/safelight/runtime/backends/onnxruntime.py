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
from safelight.runtime.backends.onnx_providers import CPU, choose_providers
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


BATCH_SIZES = (1, 8, 32)
"""How many pictures an accelerator gets at once: engines compile or tune for each shape that they meet."""


@dataclass(frozen=True)
class BatchedOnnxRuntimeNetwork:
    """An ONNX Runtime session on an accelerator, which computes batches of a few sizes, filled up with black pictures.

    A picture's results may differ in the last bits between the sizes.
    """

    session: Any
    outputs: tuple[str, ...]

    def run(self, pixels: NDArray[np.uint8]) -> Outputs:
        """See ``CompiledNetwork.run``."""
        largest = BATCH_SIZES[-1]
        return stack_outputs(
            [self._run_batch(pixels[i : i + largest]) for i in range(0, len(pixels), largest)]
        )

    def _run_batch(self, pixels: NDArray[np.uint8]) -> Outputs:
        count = len(pixels)
        size = next(size for size in BATCH_SIZES if size >= count)
        filled = np.concatenate([pixels, np.zeros((size - count, *pixels.shape[1:]), np.uint8)])
        results = self.session.run(self.outputs, {PIXELS: filled})
        return {name: result[:count] for name, result in zip(self.outputs, results, strict=True)}


def compile_onnxruntime(
    graph: OnnxGraph,
    plan: BackendPlan,
    cache: Path | None = None,  # noqa: ARG001
) -> OnnxRuntimeNetwork | BatchedOnnxRuntimeNetwork:
    """Open a session on the CPU provider, or on those of the plan's device.

    Raises:
        BackendError: Another precision than fp32 was asked for, or nothing that is installed computes on the device.
    """
    if plan.precision != "fp32":
        raise BackendError(f"onnxruntime runs a network in fp32 only, not in {plan.precision}.")
    options = ort.SessionOptions()
    options.intra_op_num_threads = plan.threads
    options.log_severity_level = 3
    # Spinning threads would take the cores from threads that decode pictures meanwhile.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if plan.device == "cpu":
        session = ort.InferenceSession(graph.onnx, options, providers=[CPU])
        return OnnxRuntimeNetwork(session, graph.outputs)
    providers = choose_providers(ort.get_available_providers(), plan.device, plan.precision)
    session = ort.InferenceSession(
        graph.onnx, options, providers=[(each.name, dict(each.options)) for each in providers]
    )
    if not {each.name for each in providers} & {*session.get_providers()} - {CPU}:
        raise BackendError(  # ONNX Runtime only logs it, and computes on the CPU
            f"onnxruntime cannot use {plan.device}: {providers[0].name} could not be loaded.",
            hint="Its log says which library is missing; set moderation_device to cpu to do without.",
        )
    return BatchedOnnxRuntimeNetwork(session, graph.outputs)
