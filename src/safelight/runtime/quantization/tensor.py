"""``QuantizedTensor``: a weight that stays packed in memory and computes as if it were not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from safelight.runtime.quantization.formats import Format, Parts

_aten = torch.ops.aten


class QuantizedTensor(torch.Tensor):
    """A quantized weight: to the outside a floating-point tensor of its logical shape, inside its packed parts.

    Linear and convolution layers dequantize it to the activation's type when they compute, one layer at a time. Copies,
    moves between devices, conversions of the type (which only says what results are in), row slices, ``split``,
    ``chunk`` and ``cat`` along dimension 0, ``t`` and changes of the shape that keep the rows stay packed; every other
    operation dequantizes it first and has a plain result. It cannot be changed in place.

    Args:
        format: How it is packed.
        parts: The packed parts by role.
        shape: The logical shape.
        dtype: The type of its results.
        transposed: Whether it stands for the transpose of what is packed, which then has two dimensions; ``shape`` is
            that of the transpose.
    """

    format: Format
    roles: tuple[str, ...]
    transposed: bool

    @staticmethod
    def __new__(
        cls: type[QuantizedTensor],
        format: Format,  # noqa: A002
        parts: Parts,
        shape: Sequence[int],
        dtype: torch.dtype = torch.float32,
        *,
        transposed: bool = False,
    ) -> QuantizedTensor:
        """Wrap the parts."""
        first = next(iter(parts.values()))
        # under inference_mode, a view of an ordinary tensor has to be an ordinary one
        with torch.inference_mode(False):
            tensor: QuantizedTensor = torch.Tensor._make_wrapper_subclass(
                cls,
                tuple(shape),
                strides=(1, shape[0]) if transposed else None,
                dtype=dtype,
                device=first.device,
                requires_grad=False,
            )
        return tensor

    def __init__(
        self,
        format: Format,  # noqa: A002
        parts: Parts,
        shape: Sequence[int],  # noqa: ARG002
        dtype: torch.dtype = torch.float32,  # noqa: ARG002
        *,
        transposed: bool = False,
    ) -> None:
        self.format = format
        self.roles = tuple(parts)
        self.transposed = transposed
        for role, part in parts.items():
            setattr(self, f"packed_{role}", part)

    @property
    def packed(self) -> dict[str, torch.Tensor]:
        """The packed parts by role."""
        return {role: getattr(self, f"packed_{role}") for role in self.roles}

    @property
    def packed_shape(self) -> tuple[int, ...]:
        """The logical shape of what is packed: of the transpose where it is transposed."""
        shape = tuple(self.shape)
        return shape[::-1] if self.transposed else shape

    def dequantize(self, dtype: torch.dtype | None = None) -> torch.Tensor:
        """The weight as a plain tensor, in its own or another floating-point type."""
        weight = self.format.dequantize(self.packed, self.packed_shape, dtype or self.dtype)
        return weight.t() if self.transposed else weight

    def with_parts(
        self,
        parts: Parts,
        shape: Sequence[int] | None = None,
        dtype: torch.dtype | None = None,
        kind: Format | None = None,
    ) -> QuantizedTensor:
        """The same kind of tensor with other parts."""
        return QuantizedTensor(
            kind or self.format,
            parts,
            tuple(self.shape) if shape is None else shape,
            dtype or self.dtype,
            transposed=self.transposed,
        )

    def __tensor_flatten__(self) -> tuple[list[str], tuple[Any, ...]]:
        names = [f"packed_{role}" for role in self.roles]
        return names, (self.format, self.roles, self.dtype, self.transposed, tuple(self.shape))

    @staticmethod
    def __tensor_unflatten__(
        inner: Mapping[str, torch.Tensor], context: tuple[Any, ...], outer_size: object, outer_stride: object
    ) -> QuantizedTensor:
        kind, roles, dtype, transposed, shape = context
        parts = {role: inner[f"packed_{role}"] for role in roles}
        return QuantizedTensor(kind, parts, shape, dtype, transposed=transposed)

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"QuantizedTensor({self.format!r}, shape={list(self.shape)}, dtype={self.dtype}, device={self.device})"

    def __deepcopy__(self, memo: dict[int, Any]) -> QuantizedTensor:
        if id(self) not in memo:
            copy = self.clone()
            if getattr(self, "_is_param", False):
                copy._is_param = True
            memo[id(self)] = copy
        copied: QuantizedTensor = memo[id(self)]
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        arguments = (self.format, self.packed, tuple(self.shape), self.dtype, self.transposed)
        return _rebuild, arguments

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        handler = _FUNCTIONS.get(func)
        if handler is not None:
            result = handler(func, *args, **(kwargs or {}))
            if result is not NotImplemented:
                return result
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(
        cls,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        handler = _OPERATIONS.get(func)
        if handler is not None:
            result = handler(func, *args, **options)
            if result is not NotImplemented:
                return result
        else:
            result = func.decompose(
                *args, **options
            )  # under inference_mode, composite operations arrive here too
            if result is not NotImplemented:
                return result
        _refuse_changes(func, args, options)
        with torch.inference_mode(False) if func.is_view else nullcontext():  # see __new__
            plain_args, plain_options = tree_map_only(
                QuantizedTensor, QuantizedTensor.dequantize, (args, options)
            )
            return func(*plain_args, **plain_options)


def to_precision(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A weight in the precision that a network is loaded in.

    A plain tensor is converted; a quantized one stays packed, and its results are of that type.
    """
    return tensor.to(dtype)


def take_rows(tensor: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Some rows of a weight in another order; a quantized one stays packed where no block covers two rows."""
    if isinstance(tensor, QuantizedTensor) and not tensor.transposed:
        kind, parts = tensor.format.sliceable(tensor.packed)
        rows = kind.rows_at(parts, tensor.packed_shape, index)
        if rows is not None:
            return tensor.with_parts(rows, (len(index), *tensor.shape[1:]), kind=kind)
    return tensor[index]


def stored_nbytes(tensor: torch.Tensor) -> int:
    """The bytes that a tensor takes: of a quantized one, those of its packed parts."""
    if isinstance(tensor, QuantizedTensor):
        return sum(part.nbytes for part in tensor.packed.values())
    return int(tensor.nbytes)


def dequantize_network(network: torch.nn.Module) -> None:
    """Make a network's quantized weights plain ones, for backends that compile it."""
    for module in network.modules():
        for name, weight in module._parameters.items():
            if isinstance(weight, QuantizedTensor):
                module._parameters[name] = torch.nn.Parameter(weight.dequantize(), requires_grad=False)


def _rebuild(
    kind: Format, parts: Parts, shape: tuple[int, ...], dtype: torch.dtype, transposed: bool
) -> QuantizedTensor:
    return QuantizedTensor(kind, parts, shape, dtype, transposed=transposed)


def _refuse_changes(func: Any, args: tuple[Any, ...], options: Mapping[str, Any]) -> None:
    """Refuse operations that write to a quantized tensor: their result would be lost with the dequantized copy."""
    if not func._schema.is_mutable:
        return
    for position, argument in enumerate(func._schema.arguments):
        value = args[position] if position < len(args) else options.get(argument.name)
        if (
            argument.alias_info is not None
            and argument.alias_info.is_write
            and isinstance(value, QuantizedTensor)
        ):
            raise TypeError(f"A quantized weight cannot be changed in place ({func}).")


# Functions of torch that compute with a weight.


def _linear(
    func: Any,
    input: torch.Tensor,  # noqa: A002
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> Any:
    if not isinstance(weight, QuantizedTensor) or isinstance(input, QuantizedTensor):
        return NotImplemented
    return func(input, weight.dequantize(input.dtype), bias)


def _convolution(func: Any, input: torch.Tensor, weight: torch.Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: A002
    if not isinstance(weight, QuantizedTensor) or isinstance(input, QuantizedTensor):
        return NotImplemented
    return func(input, weight.dequantize(input.dtype), *args, **kwargs)


def _embedding(
    func: Any, input: torch.Tensor, weight: torch.Tensor, padding_idx: int | None = None,  # noqa: A002, ARG001
    max_norm: float | None = None, *args: Any, **kwargs: Any,  # noqa: ARG001
) -> Any:  # fmt: skip
    """Look rows up without dequantizing the others."""
    if not isinstance(weight, QuantizedTensor) or max_norm is not None or weight.transposed:
        return NotImplemented
    kind, parts = weight.format.sliceable(weight.packed)
    rows = kind.rows_at(parts, weight.packed_shape, input.flatten())
    if rows is None:
        return NotImplemented
    shape = (input.numel(), *weight.shape[1:])
    return kind.dequantize(rows, shape, weight.dtype).view(*input.shape, *weight.shape[1:])


def _get_data(func: Any, tensor: QuantizedTensor) -> Any:  # noqa: ARG001
    return tensor.detach()


def _set_data(func: Any, tensor: torch.Tensor, value: torch.Tensor) -> Any:  # noqa: ARG001
    """Put another quantized tensor in the place of one, on whatever device it is."""
    if not isinstance(tensor, QuantizedTensor) or not isinstance(value, QuantizedTensor):
        raise TypeError("A quantized weight cannot take the data of a plain one, nor the reverse.")
    new = value.detach()
    if getattr(tensor, "_is_param", False):
        new._is_param = True
    torch.utils.swap_tensors(tensor, new)


_CONVOLUTIONS = (
    torch.conv1d,
    torch.conv2d,
    torch.conv3d,
    torch.conv_transpose1d,
    torch.conv_transpose2d,
    torch.conv_transpose3d,
)
_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    torch.nn.functional.linear: _linear,
    torch.nn.functional.embedding: _embedding,
    torch.Tensor.data.__get__: _get_data,
    torch.Tensor.data.__set__: _set_data,
    **dict.fromkeys(_CONVOLUTIONS, _convolution),
}


# Operations that keep a weight packed.


def _map_parts(func: Any, tensor: QuantizedTensor, *args: Any, **kwargs: Any) -> Any:
    """The same operation on each part: detach, clone, pin_memory."""
    kwargs.pop("memory_format", None)
    return tensor.with_parts({role: func(part, *args, **kwargs) for role, part in tensor.packed.items()})


def _to_copy(
    func: Any,
    tensor: QuantizedTensor,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    non_blocking: bool = False,
    **_: Any,
) -> Any:
    """Move the parts; a type says only what results are in."""
    if dtype is not None and not dtype.is_floating_point:
        return func(tensor.dequantize(), dtype=dtype, device=device, non_blocking=non_blocking)
    parts = tensor.packed
    if device is not None:
        parts = {role: part.to(device, non_blocking=non_blocking) for role, part in parts.items()}
    return tensor.with_parts(parts, dtype=dtype)


def _transpose(func: Any, tensor: QuantizedTensor, *dims: int) -> Any:  # noqa: ARG001
    if tensor.dim() != 2 or (dims and {each % 2 for each in dims} != {0, 1}):
        return NotImplemented
    flipped = tuple(tensor.shape)[::-1]
    return QuantizedTensor(
        tensor.format, tensor.packed, flipped, tensor.dtype, transposed=not tensor.transposed
    )


def _permute(func: Any, tensor: QuantizedTensor, dims: Sequence[int]) -> Any:
    return _transpose(func, tensor, *dims) if list(dims) == [1, 0] else NotImplemented


def _rows(tensor: QuantizedTensor, start: int, stop: int) -> Any:
    """Rows of a tensor, packed where no block covers two rows."""
    if tensor.transposed:
        return NotImplemented
    if (start, stop) == (0, tensor.shape[0]):
        return tensor.with_parts(tensor.packed)
    kind, parts = tensor.format.sliceable(tensor.packed)
    rows = kind.rows_between(parts, tensor.packed_shape, start, stop)
    if rows is None:
        return NotImplemented
    return tensor.with_parts(rows, (stop - start, *tensor.shape[1:]), kind=kind)


def _slice(
    func: Any, tensor: QuantizedTensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1  # noqa: ARG001
) -> Any:  # fmt: skip
    size = tensor.shape[dim]
    start, stop, step = slice(start, end, step).indices(size)
    if step == 1 and (start, stop) == (0, size):
        return tensor.with_parts(tensor.packed)
    if step != 1 or dim % tensor.dim() != 0:
        return NotImplemented
    return _rows(tensor, start, max(start, stop))


def _split(func: Any, tensor: QuantizedTensor, sizes: int | Sequence[int], dim: int = 0) -> Any:  # noqa: ARG001
    if dim % tensor.dim() != 0:
        return NotImplemented
    total = tensor.shape[0]
    if isinstance(sizes, int):
        sizes = [min(sizes, total - start) for start in range(0, total, sizes)]
    starts = [sum(sizes[:position]) for position in range(len(sizes))]
    found = [_rows(tensor, start, start + size) for start, size in zip(starts, sizes, strict=True)]
    return NotImplemented if any(each is NotImplemented for each in found) else found


def _cat(func: Any, tensors: Sequence[torch.Tensor], dim: int = 0) -> Any:  # noqa: ARG001
    first = tensors[0]
    if dim != 0 or not all(
        isinstance(each, QuantizedTensor)
        and not each.transposed
        and each.shape[1:] == first.shape[1:]
        and each.dtype == first.dtype
        for each in tensors
    ):
        return NotImplemented
    forms = [each.format.sliceable(each.packed) for each in tensors]
    kinds = {(kind, tuple(parts)) for kind, parts in forms}
    if len(kinds) != 1:
        return NotImplemented
    kind = forms[0][0]
    joined = kind.concatenate([parts for _, parts in forms], [tuple(each.shape) for each in tensors])
    if joined is None:
        return NotImplemented
    shape = (sum(each.shape[0] for each in tensors), *first.shape[1:])
    return QuantizedTensor(kind, joined, shape, first.dtype)


def _reshape_keeping_rows(func: Any, tensor: QuantizedTensor, *args: Any) -> Any:
    """A change of the shape that leaves the rows as they are."""
    if tensor.transposed:
        return NotImplemented
    shape = tuple(func(torch.empty(tensor.shape, device="meta"), *args).shape)
    if shape[:1] != tuple(tensor.shape[:1]):
        return NotImplemented
    return tensor.with_parts(tensor.packed, shape)


def _select(func: Any, tensor: QuantizedTensor, dim: int, index: int) -> Any:  # noqa: ARG001
    """The only place of a dimension."""
    if dim % tensor.dim() == 0 or tensor.shape[dim] != 1:
        return NotImplemented
    return _reshape_keeping_rows(_aten.squeeze.dim, tensor, dim)


def _copy(func: Any, target: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> Any:  # noqa: ARG001
    """Copy between equal quantized tensors, as ``load_state_dict`` does without ``assign``."""
    if not isinstance(target, QuantizedTensor):
        return NotImplemented
    if not isinstance(source, QuantizedTensor) or (
        target.format != source.format or target.roles != source.roles or target.shape != source.shape
    ):
        return NotImplemented
    for role, part in target.packed.items():
        part.copy_(source.packed[role], non_blocking=non_blocking)
    return target


_OPERATIONS: dict[Any, Callable[..., Any]] = {
    _aten.detach.default: _map_parts,
    _aten.alias.default: _map_parts,
    _aten.clone.default: _map_parts,
    _aten._pin_memory.default: _map_parts,
    _aten._to_copy.default: _to_copy,
    _aten.t.default: _transpose,
    _aten.transpose.int: _transpose,
    _aten.permute.default: _permute,
    _aten.slice.Tensor: _slice,
    _aten.split.Tensor: _split,
    _aten.split_with_sizes.default: _split,
    _aten.cat.default: _cat,
    _aten.view.default: _reshape_keeping_rows,
    _aten._unsafe_view.default: _reshape_keeping_rows,
    _aten.select.int: _select,
    _aten.unsqueeze.default: _reshape_keeping_rows,
    _aten.squeeze.dim: _reshape_keeping_rows,
    _aten.squeeze.dims: _reshape_keeping_rows,
    _aten.copy_.default: _copy,
}
