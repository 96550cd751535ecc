"""OpenVINO: static shapes, one stream per thread, compiled blobs cached on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from safelight.errors import BackendError
from safelight.runtime.backends import INT8, BackendPlan, Outputs, stack_outputs
from safelight.runtime.graph import PIXELS, OnnxGraph

_PRECISIONS = {"fp32": "f32", "bf16": "bf16", INT8: "f32"}
"""OpenVINO's names; of a quantized graph, the precision of what is not quantized."""


class OpenVinoNetwork:
    """A compiled model with batch size one, and a pool of as many inference requests as there are streams.

    On a CPU, batch size one is as fast as larger batches when each core has its own stream (docs/performance.md), and
    it makes results independent of how pictures are batched, to the last bit.
    """

    def __init__(self, compiled: Any, outputs: tuple[str, ...], streams: int) -> None:
        self._outputs = outputs
        self._streams = streams
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(streams):
            self._idle.put(compiled.create_infer_request())

    def run(self, pixels: NDArray[np.uint8]) -> Outputs:
        """See ``CompiledNetwork.run``."""
        with self._take_requests(min(len(pixels), self._streams)) as requests:
            rows: list[Outputs] = []
            for start in range(0, len(pixels), len(requests)):
                group = pixels[start : start + len(requests)]
                rows += self._run_group(requests[: len(group)], group)
        return stack_outputs(rows)

    def _run_group(self, requests: list[Any], group: NDArray[np.uint8]) -> list[Outputs]:
        for request, picture in zip(requests, group, strict=True):
            request.start_async({PIXELS: picture[np.newaxis]})
        for request in requests:
            request.wait()
        return [
            {name: request.get_tensor(name).data.copy() for name in self._outputs} for request in requests
        ]

    @contextmanager
    def _take_requests(self, wanted: int) -> Iterator[list[Any]]:
        """Take at least one request from the pool, and up to the wanted number if they are idle."""
        requests = [self._idle.get()]
        try:
            while len(requests) < wanted:
                requests.append(self._idle.get_nowait())
        except Empty:
            pass
        try:
            yield requests
        finally:
            for request in requests:
                self._idle.put(request)


def compile_openvino(graph: OnnxGraph, plan: BackendPlan, cache: Path | None = None) -> OpenVinoNetwork:
    """Compile for the CPU with a static batch size of one.

    Raises:
        BackendError: The precision is none of fp32, bf16 and, of a quantized graph, int8; or the processor has it not.
    """
    if plan.precision not in _PRECISIONS:
        raise BackendError(f"openvino runs a network in fp32, bf16 or int8, not in {plan.precision}.")
    core = ov.Core()
    check_precision(core, plan.precision)
    model = core.read_model(graph.onnx, b"")
    model.reshape({PIXELS: [1, graph.height, graph.width, 3]})
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": _PRECISIONS[plan.precision],
        "NUM_STREAMS": plan.threads,
        "INFERENCE_NUM_THREADS": plan.threads,
    }
    if cache is not None and _is_writable(cache / "openvino"):
        options["CACHE_DIR"] = str(cache / "openvino")
    return OpenVinoNetwork(core.compile_model(model, "CPU", options), graph.outputs, plan.threads)


def check_precision(core: Any, precision: str) -> None:
    """Refuse bf16 on a processor without units for it.

    OpenVINO would emulate it there, which is slower than fp32, and its code for that reads beyond the end of its
    buffers: vision transformers end the process (seen with 2026.4).

    Raises:
        BackendError: The processor has no such units.
    """
    if precision == "bf16" and not has_bf16_units(core):
        raise BackendError(
            "openvino computes in bf16 only on processors with units for it; this one has none."
        )


def has_bf16_units(core: Any) -> bool:
    """Whether OpenVINO finds units for bf16 in the processor."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _is_writable(folder: Path) -> bool:
    """Whether the cache folder can be created; without it, each start compiles again."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
