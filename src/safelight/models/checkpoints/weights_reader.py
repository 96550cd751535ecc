"""Read tensors from weights files, quantized ones packed as they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from safelight.errors import CheckpointInvalidError, FileMissingError
from safelight.models.checkpoints.safetensors_header import read_header
from safelight.models.checkpoints.tensor_entries import Header, TensorEntry
from safelight.runtime.quantization.formats import Codebook4, Float8, Format, Gguf, Int4, Int8
from safelight.runtime.quantization.formats.integers import pack_halves
from safelight.runtime.quantization.tensor import QuantizedTensor, take_rows

Parts = dict[str, torch.Tensor]

_GGUF_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
}


def read_tensors(path: Path, names: Iterable[str] | None = None) -> dict[str, torch.Tensor]:
    """Read tensors of a weights file.

    Plain tensors are views of the file, mapped into memory, and so are to be copied before the file may change;
    quantized ones are ``QuantizedTensor``, with memory of their own and fp32 as the type of their results until
    ``to_precision``.

    Args:
        path: A safetensors or GGUF file.
        names: The names of the tensors, as in ``read_header``; by default all.

    Raises:
        FileMissingError, PickleRefusedError: See ``read_header``.
        CheckpointInvalidError: The file is damaged, lacks a tensor, or has one whose scales do not fit it.
    """
    header = read_header(path)
    wanted = list(header.tensors if names is None else names)
    if missing := [name for name in wanted if name not in header.tensors]:
        raise CheckpointInvalidError(f"{path} has no tensor {missing[0]}.")
    try:
        if header.format == "gguf":
            return _read(path, header, wanted, _gguf_source(path, header))
        with safe_open(path, framework="pt") as file:
            return _read(path, header, wanted, file.get_tensor)
    except OSError as error:
        raise FileMissingError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (SafetensorError, RuntimeError) as error:
        raise CheckpointInvalidError(f"{path} cannot be read: {error}.") from error


def _read(
    path: Path, header: Header, names: Iterable[str], source: Callable[[str], torch.Tensor]
) -> dict[str, torch.Tensor]:
    found = {}
    for name in names:
        entry = header.tensors[name]
        if entry.packing is None:
            stored = source(entry.origin.name if entry.origin else name).view(entry.shape)
            found[name] = _restored(stored, entry)
            continue
        # copies: a packed weight stays in memory, and the file may be cut short while it does
        parts = {role: source(part).clone() for role, part in entry.packing.parts.items()}
        try:
            found[name] = _restored(_assemble(entry, parts), entry)
        except ValueError as error:
            raise CheckpointInvalidError(
                f"{path} has a tensor {name} that cannot be used: {error}."
            ) from error
    return found


def _gguf_source(path: Path, header: Header) -> Callable[[str], torch.Tensor]:
    """Returns a stored tensor of a GGUF file, mapped into memory."""
    size = path.stat().st_size
    content = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)

    def source(name: str) -> torch.Tensor:
        tensor = header.stored[name]
        data = content[tensor.offset : tensor.offset + tensor.nbytes]
        dtype = _GGUF_DTYPES.get(tensor.dtype)
        if dtype is None:
            return data
        if tensor.offset % dtype.itemsize:
            data = data.clone()
        return data.view(dtype).view(tensor.shape)

    return source


def _restored(tensor: torch.Tensor, entry: TensorEntry) -> torch.Tensor:
    """A tensor as it was before llama.cpp's converter changed it."""
    if entry.origin is None or not entry.origin.change:
        return tensor
    if entry.origin.change == "plus one":
        return tensor.float() - 1
    rows = torch.arange(tensor.shape[0])
    return take_rows(tensor, rows.view(entry.origin.heads, -1, 2).transpose(1, 2).flatten())


def _assemble(entry: TensorEntry, parts: Parts) -> QuantizedTensor:
    """A quantized tensor of the parts as they are stored."""
    assert entry.packing is not None
    kind, packed = LAYOUTS[entry.packing.layout](entry, parts, entry.packing.options)
    kind.check(packed, entry.shape)
    return QuantizedTensor(kind, packed, entry.shape)


def _gguf(entry: TensorEntry, parts: Parts, options: Mapping[str, object]) -> tuple[Format, Parts]:  # noqa: ARG001
    kind = Gguf(entry.dtype)
    return kind, {"blocks": parts["blocks"].view(math.prod(entry.shape) // kind.block, -1)}


def _fp8(entry: TensorEntry, parts: Parts, options: Mapping[str, object]) -> tuple[Format, Parts]:  # noqa: ARG001
    rows = entry.shape[0]
    packed = {"codes": parts["codes"].view(rows, -1)}
    if "scale" in parts:
        packed["scale"] = parts["scale"].view(())
    if "scales" in parts:
        packed["scales"] = parts["scales"].view(rows, 1)
    return Float8(), packed


def _bnb_eight_bits(
    entry: TensorEntry, parts: Parts, options: Mapping[str, object]  # noqa: ARG001
) -> tuple[Format, Parts]:  # fmt: skip
    scales = parts["scales"].to(torch.float32).view(entry.shape[0], 1) / 127
    return Int8(), {"codes": _padded(parts["codes"], 2), "scales": scales}


def _bnb_four_bits(
    entry: TensorEntry, parts: Parts, options: Mapping[str, object]  # noqa: ARG001
) -> tuple[Format, Parts]:  # fmt: skip
    kind = Codebook4(int(str(options["block"])), int(str(options["nested"])))
    packed = {
        "codes": _padded(parts["codes"].view(1, -1), kind.block // 2).view(-1, kind.block // 2),
        "absmax": parts["absmax"].flatten(),
        "table": parts["quant_map"].flatten(),
    }
    if kind.nested:
        packed |= {
            "absmax_scales": parts["nested_absmax"].flatten(),
            "absmax_table": parts["nested_quant_map"].flatten(),
            "absmax_offset": torch.tensor(float(str(options["offset"]))),
        }
    return kind, packed


def _torchao_int8(entry: TensorEntry, parts: Parts, options: Mapping[str, object]) -> tuple[Format, Parts]:
    rows, group = entry.shape[0], int(str(options["group"]))
    codes = parts["qdata"].view(rows, -1)
    packed = {"codes": _padded(codes, 2), "scales": parts["scale"].view(rows, -1)}
    if "zero_point" in parts and bool(parts["zero_point"].any()):
        packed["zeros"] = parts["zero_point"].view(rows, -1)
    if codes.shape[1] == group:
        group = 0
    if not options["four_bits"]:
        return Int8(group), packed
    if "zeros" in packed:
        packed["zeros"] = packed["zeros"].to(torch.int8) + 8
    return Int4(group), packed | {"codes": pack_halves(packed["codes"] + 8)}


def _torchao_int4(entry: TensorEntry, parts: Parts, options: Mapping[str, object]) -> tuple[Format, Parts]:
    """A weight is code * scale + zero point, with codes from -8 to 7."""
    rows = entry.shape[0]
    scales = parts["scale"].view(-1, rows).t().float().contiguous()
    zeros = 8 - parts["zero_point"].view(-1, rows).t().float() / scales
    codes = parts["qdata"].view(torch.uint8).view(rows, -1) ^ 0x88
    return Int4(int(str(options["group"]))), {"codes": codes, "scales": scales, "zeros": zeros}


def _own_int8(entry: TensorEntry, parts: Parts, options: Mapping[str, object]) -> tuple[Format, Parts]:  # noqa: ARG001
    return Int8(int(str(options["group"]))), parts


def _own_int4(entry: TensorEntry, parts: Parts, options: Mapping[str, object]) -> tuple[Format, Parts]:  # noqa: ARG001
    return Int4(int(str(options["group"]))), parts


def _padded(codes: torch.Tensor, multiple: int) -> torch.Tensor:
    """Rows filled up with zeros to a multiple of elements."""
    rest = -codes.shape[-1] % multiple
    return torch.nn.functional.pad(codes, (0, rest)) if rest else codes


LAYOUTS: Mapping[str, Callable[[TensorEntry, Parts, Mapping[str, object]], tuple[Format, Parts]]] = {
    "gguf": _gguf,
    "fp8": _fp8,
    "bnb-4bit": _bnb_four_bits,
    "bnb-8bit": _bnb_eight_bits,
    "torchao-int8": _torchao_int8,
    "torchao-int4": _torchao_int4,
    "own-int8": _own_int8,
    "own-int4": _own_int4,
}
"""What makes a format and its packed parts of the stored ones, by layout."""
