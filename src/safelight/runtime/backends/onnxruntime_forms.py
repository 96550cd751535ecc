"""ONNX Runtime for torch networks: an ONNX graph with static shapes, run by the execution providers of the device."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import onnxruntime as ort
import torch
from diffusers import ZImageTransformer2DModel
from torch import Tensor, nn

from safelight.errors import BackendError
from safelight.runtime.backends import BackendPlan
from safelight.runtime.backends.onnx_providers import choose_providers
from safelight.runtime.compilation.form import last_line
from safelight.runtime.compilation.real_rotary import real_rotary
from safelight.runtime.compilation.values import CallModule
from safelight.runtime.mapped_pages import release_file

_MODEL = "model.onnx"
_WEIGHTS = "model.onnx.data"


class OnnxRuntimeForm:
    """A session, whose bfloat16 inputs and outputs are in fp32.

    Args:
        session: The session.
        nbytes: Bytes of its weights.
    """

    def __init__(self, session: Any, nbytes: int) -> None:
        self._session, self.nbytes = session, nbytes
        self._inputs = [each.name for each in session.get_inputs()]

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """See ``CompiledForm.run``."""
        arrays = [_without_bfloat16(tensor).cpu().contiguous().numpy() for tensor in tensors]
        results = self._session.run(None, dict(zip(self._inputs, arrays, strict=True)))
        return [torch.from_numpy(array).to(tensors[0].device) for array in results]


class OnnxRuntimeForms:
    """Exports a network's call to ONNX, and opens sessions."""

    def check(self) -> None:
        """ONNX Runtime needs nothing beside the packages. See ``FormEngine.check``."""

    def convert(self, call: CallModule, example: tuple[Tensor, ...], folder: Path) -> None:
        """Export the call, with the weights in a file of their own. See ``FormEngine.convert``.

        Raises:
            BackendError: It cannot be exported.
        """
        example = tuple(map(_without_bfloat16, example))
        is_complex = isinstance(call.network, ZImageTransformer2DModel)
        try:
            with warnings.catch_warnings(action="ignore"), real_rotary() if is_complex else nullcontext():
                call(*example)  # tables that networks compute at their first call are constants then
                program = torch.onnx.export(_Float32(call), example, dynamo=True, verbose=False)
            program.save(folder / _MODEL, external_data=True)
        except Exception as error:  # whatever exporting raises
            raise BackendError(f"onnxruntime cannot convert it: {last_line(error)}") from error
        if len(program.model.graph.inputs) != len(example):
            raise BackendError("onnxruntime cannot convert it: the graph leaves inputs out.")

    def load(self, folder: Path, plan: BackendPlan) -> OnnxRuntimeForm:
        """Open a session on the device's execution providers.

        Raises:
            BackendError: None of those installed computes on the device in this precision.
            RuntimeError: The files cannot be used.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = plan.threads
        options.log_severity_level = 3
        # Spinning threads would take the cores from what else this machine does.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = choose_providers(ort.get_available_providers(), plan.device, plan.precision)
        session = ort.InferenceSession(
            folder / _MODEL, options, providers=[(each.name, dict(each.options)) for each in providers]
        )
        release_file(folder / _WEIGHTS)
        return OnnxRuntimeForm(session, sum(path.stat().st_size for path in folder.iterdir()))


class _Float32(nn.Module):
    """A call whose bfloat16 results are in fp32: numpy, which sessions take and return, has no bfloat16."""

    def __init__(self, call: CallModule) -> None:
        super().__init__()
        self.call = call

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The tensors of the result."""
        return tuple(map(_without_bfloat16, self.call(*tensors)))


def _without_bfloat16(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor
