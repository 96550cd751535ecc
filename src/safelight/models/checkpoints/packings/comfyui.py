"""ComfyUI: weights of eight bits, plain or with scales.

``X.weight`` is F8_E4M3 or F8_E5M2; ``X.scale_weight`` (with a tensor ``scaled_fp8`` as a mark) or ``X.weight_scale``
(with a JSON text ``X.comfy_quant``, or ``_quantization_metadata`` in the metadata) is its scale, one for the weight or
one for each row. Scales of activations (``scale_input``, ``input_scale``) are left out: activations are not quantized.
"""

from __future__ import annotations

import json

from safelight.models.checkpoints.packings.file_content import FileContent, elements
from safelight.models.checkpoints.tensor_entries import Packing, StoredTensor

_FLOATS = {"F8_E4M3", "F8_E5M2"}
_FORMATS = {"float8_e4m3fn", "float8_e5m2"}
_SCALES = ("scale_weight", "weight_scale")
_OTHERS = ("scale_input", "input_scale", "comfy_quant")


def find(content: FileContent) -> None:
    """Find weights of eight-bit floating-point numbers.

    Raises:
        ValueError: One is quantized in another way, or its scale does not fit.
    """
    _check_metadata(content)
    for name, tensor in content.stored.items():
        module, _, last = name.rpartition(".")
        if last == "scaled_fp8":
            content.leave_out(name)
        elif last == "comfy_quant":
            _check_format(content.json(name).get("format"), module)
        elif last in _SCALES and content.is_free(name):
            weight = content.stored.get(f"{module}.weight" if module else "weight")
            if weight is None:
                raise ValueError(f"{name} is the scale of a weight that is not there")
            if weight.dtype not in _FLOATS:
                raise ValueError(f"{name} is the scale of a weight of the type {weight.dtype}")
        if tensor.dtype in _FLOATS and len(tensor.shape) >= 2 and content.is_free(name):
            _add(content, name, tensor)


def _add(content: FileContent, name: str, tensor: StoredTensor) -> None:
    module = name.removesuffix("weight") if name.endswith("weight") else f"{name}."
    scales = [f"{module}{scale}" for scale in _SCALES if content.is_free(f"{module}{scale}")]
    parts = {"codes": name}
    if scales:
        count = elements(content.stored[scales[0]])
        if count not in (1, tensor.shape[0]):
            raise ValueError(f"{scales[0]} has {count} values for {tensor.shape[0]} rows")
        parts["scale" if count == 1 else "scales"] = scales[0]
    ignored = tuple(f"{module}{other}" for other in _OTHERS)
    content.add(name, tensor.dtype, tensor.shape, Packing("fp8", parts), ignored)


def _check_metadata(content: FileContent) -> None:
    text = content.metadata.get("_quantization_metadata")
    if text:
        for name, layer in json.loads(text).get("layers", {}).items():
            _check_format(layer.get("format"), name)


def _check_format(kind: object, name: str) -> None:
    if kind not in _FORMATS:
        raise ValueError(f"{name[:200]} is quantized as {str(kind)[:40]}, which is not known")
