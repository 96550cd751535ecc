"""TensorRT by Torch-TensorRT, where that is installed: an exported program whose parts are TensorRT engines."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch_tensorrt
from torch import Tensor

from safelight.errors import BackendError
from safelight.runtime.backends import BackendPlan
from safelight.runtime.compilation.form import last_line
from safelight.runtime.compilation.values import CallModule

_PROGRAM = "model.ep"


class TensorRtForm:
    """An exported program with TensorRT's engines.

    Args:
        program: Computes.
        device: Where.
        nbytes: Bytes of its engines.
    """

    def __init__(self, program: Callable[..., Sequence[Tensor]], device: torch.device, nbytes: int) -> None:
        self._program, self._device, self.nbytes = program, device, nbytes

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """See ``CompiledForm.run``."""
        return list(self._program(*(tensor.to(self._device).contiguous() for tensor in tensors)))


class TensorRtForms:
    """Compiles a network's call to TensorRT's engines, and loads them."""

    def check(self) -> None:
        """TensorRT needs nothing beside its packages. See ``FormEngine.check``."""

    def convert(self, call: CallModule, example: tuple[Tensor, ...], folder: Path) -> None:
        """Export the call and compile it, in the types that the network computes in. See ``FormEngine.convert``.

        Raises:
            BackendError: It cannot be exported or compiled.
        """
        inputs = [tensor.contiguous() for tensor in example]
        try:
            with warnings.catch_warnings(action="ignore"), torch.no_grad():
                call(*inputs)  # tables that networks compute at their first call are constants then
                program = torch.export.export(call, tuple(inputs))
                compiled = torch_tensorrt.dynamo.compile(program, arg_inputs=inputs, use_explicit_typing=True)
                torch_tensorrt.save(compiled, str(folder / _PROGRAM), arg_inputs=inputs)
        except Exception as error:  # whatever exporting and building raise
            raise BackendError(f"tensorrt cannot convert it: {last_line(error)}") from error

    def load(self, folder: Path, plan: BackendPlan) -> TensorRtForm:
        """Load the engines to the device.

        Raises:
            RuntimeError: The files cannot be used.
        """
        path = folder / _PROGRAM
        program = torch.export.load(path).module()
        return TensorRtForm(program, torch.device(plan.device), path.stat().st_size)
