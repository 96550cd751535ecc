"""A form on CUDA whose kernels are launched together, as one graph: that pays where kernels are short."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from safelight.logs import get_logger
from safelight.runtime.compilation.form import CompiledForm

_ROUNDS = 5
_log = get_logger(__name__)


class GraphedForm:
    """Launches a form's kernels as one graph, if that is faster: the first call measures both.

    Args:
        form: The form, on CUDA.
        device: The device.
    """

    def __init__(self, form: CompiledForm, device: torch.device) -> None:
        self._form, self._device, self.nbytes = form, device, form.nbytes
        self._run: Callable[[Sequence[Tensor]], list[Tensor]] | None = None

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """See ``CompiledForm.run``."""
        if self._run is None:
            self._run = self._faster(tensors)
        return self._run(tensors)

    def _faster(self, tensors: Sequence[Tensor]) -> Callable[[Sequence[Tensor]], list[Tensor]]:
        plain = self._form.run
        try:
            graphed = capture(self._form, [tensor.to(self._device) for tensor in tensors])
        except RuntimeError as error:  # it waits for the device, or allocates in another way
            _log.info("a form is not launched as a graph: %s", str(error).splitlines()[0])
            return plain
        return min((plain, graphed), key=lambda run: self._seconds(run, tensors))

    def _seconds(self, run: Callable[[Sequence[Tensor]], list[Tensor]], tensors: Sequence[Tensor]) -> float:
        best = float("inf")
        for _ in range(_ROUNDS):
            torch.cuda.synchronize(self._device)
            started = time.perf_counter()
            run(tensors)
            torch.cuda.synchronize(self._device)
            best = min(best, time.perf_counter() - started)
        return best


def capture(form: CompiledForm, inputs: list[Tensor]) -> Callable[[Sequence[Tensor]], list[Tensor]]:
    """Capture a form's kernels; what is returned copies its arguments to the graph's inputs and launches it.

    Args:
        form: The form.
        inputs: Tensors on the device, which the graph will always read.

    Raises:
        RuntimeError: The calls cannot be captured.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # libraries allocate what they keep at their first call
        form.run(inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = form.run(inputs)

    def launch(tensors: Sequence[Tensor]) -> list[Tensor]:
        for target, source in zip(inputs, tensors, strict=True):
            target.copy_(source)
        graph.replay()
        return [output.clone() for output in outputs]  # the next launch writes over them

    return launch
