"""OpenVINO for torch networks: static shapes, weights mapped from disk until they are packed for the processor."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import openvino as ov
import torch
from diffusers import ZImageTransformer2DModel
from openvino.preprocess import PrePostProcessor
from torch import Tensor

from safelight.errors import BackendError
from safelight.runtime.backends import BackendPlan
from safelight.runtime.backends.openvino import check_precision
from safelight.runtime.compilation.form import last_line
from safelight.runtime.compilation.real_rotary import real_rotary
from safelight.runtime.compilation.values import CallModule
from safelight.runtime.mapped_pages import release_file

_MODEL = "model.xml"
_PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
_FLOATS = ("f16", "bf16", "f64")


class OpenVinoForm:
    """A compiled model with one inference request, which uses all threads.

    Args:
        compiled: The compiled model, whose floating point inputs and outputs are in fp32.
        nbytes: Bytes of its weights.
    """

    def __init__(self, compiled: Any, nbytes: int) -> None:
        self.nbytes = nbytes
        self._request = compiled.create_infer_request()
        self._outputs = len(compiled.outputs)

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """See ``CompiledForm.run``."""
        inputs = [
            (tensor.float() if tensor.is_floating_point() else tensor).contiguous().numpy()
            for tensor in tensors
        ]
        self._request.infer(inputs, share_inputs=True)
        return [
            torch.from_numpy(self._request.get_output_tensor(index).data.copy())
            for index in range(self._outputs)
        ]


class OpenVinoForms:
    """Converts a network's call to OpenVINO's own files, and loads them."""

    def check(self) -> None:
        """OpenVINO needs nothing beside its package. See ``FormEngine.check``."""

    def convert(self, call: CallModule, example: tuple[Tensor, ...], folder: Path) -> None:
        """Trace the call, and write graph and weights. See ``FormEngine.convert``.

        Raises:
            BackendError: OpenVINO cannot convert it.
        """
        try:
            is_complex = isinstance(call.network, ZImageTransformer2DModel)
            with (
                _root_logger_kept(),
                warnings.catch_warnings(action="ignore"),
                real_rotary() if is_complex else nullcontext(),
            ):
                call(*example)  # tables that networks compute at their first call are constants then
                model = _trace(call, example)
            if len(model.inputs) != len(example):
                raise BackendError(
                    f"openvino found {len(model.inputs)} inputs where the network has {len(example)}."
                )
            model = _with_float_interface(model)
            ov.save_model(model, folder / _MODEL, compress_to_fp16=False)
        except (RuntimeError, TypeError, ValueError, OSError) as error:
            lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            raise BackendError(f"openvino cannot convert it: {lines[0][:300]}") from error

    def load(self, folder: Path, plan: BackendPlan) -> OpenVinoForm:
        """Compile from the files; the weights are packed for the processor, and the mapped file takes no memory then.

        Raises:
            RuntimeError: The files cannot be used.
            BackendError: The precision is neither fp32 nor bf16, or the processor has it not.
        """
        if plan.precision not in _PRECISIONS:
            raise BackendError(f"openvino runs a network in fp32 or bf16, not in {plan.precision}.")
        core = ov.Core()
        check_precision(core, plan.precision)
        model = core.read_model(folder / _MODEL)
        nbytes = _weight_bytes(model, 2 if plan.precision == "bf16" else 4)
        options = {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[plan.precision],
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": plan.threads,
        }
        compiled = core.compile_model(model, "CPU", options)
        del model
        release_file((folder / _MODEL).with_suffix(".bin"))
        return OpenVinoForm(compiled, nbytes)


@contextmanager
def _root_logger_kept() -> Iterator[None]:
    """Leave the root logger as it is: converting sets its level to errors, and adds a filter and a handler."""
    root = logging.getLogger()
    level, filters, handlers = root.level, root.filters[:], root.handlers[:]
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters[:], root.handlers[:] = filters, handlers


def _trace(call: CallModule, example: tuple[Tensor, ...]) -> Any:
    """OpenVINO's model of a call: traced, or exported where tracing fails."""
    shapes = [list(tensor.shape) for tensor in example]
    try:
        return ov.convert_model(call, example_input=example, input=shapes)
    except Exception as error:  # noqa: BLE001  whatever tracing raises, exporting is another way
        try:
            return ov.convert_model(torch.export.export(call, example))
        except Exception:  # noqa: BLE001  the first error says more
            raise BackendError(f"openvino cannot convert it: {last_line(error)}") from error


def _with_float_interface(model: Any) -> Any:
    """The model with inputs and outputs in fp32 where they are in another floating point type."""
    processor = PrePostProcessor(model)
    for index, port in enumerate(model.inputs):
        if port.get_element_type().get_type_name() in _FLOATS:
            processor.input(index).tensor().set_element_type(ov.Type.f32)
    for index, port in enumerate(model.outputs):
        if port.get_element_type().get_type_name() in _FLOATS:
            processor.output(index).tensor().set_element_type(ov.Type.f32)
    return processor.build()


def _weight_bytes(model: Any, itemsize: int) -> int:
    """Bytes that the weights of a model take once they are packed."""
    constants = (node for node in model.get_ops() if node.get_type_name() == "Constant")
    return sum(itemsize * ov_size(node.get_output_shape(0)) for node in constants)


def ov_size(shape: Sequence[int]) -> int:
    """The number of elements of a shape."""
    count = 1
    for length in shape:
        count *= length
    return count
