"""Count the peak memory of a network's calls without computing them, at any size, for any device.

The network and its inputs are fake tensors (torch's ``FakeTensorMode``): they have shapes, data types and devices, but
no data. A dispatch mode sees every operation and counts the storages that are alive. A tensor on the wrong device
raises, as it would on the real one; the device need not exist on this machine.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

from safelight.runtime.quantization.tensor import QuantizedTensor

Attention = Literal["fused", "sliced", "matrix"]
"""How attention is computed: by a fused kernel (flash or memory-efficient), which has no matrix of scores; in slices of
the queries, with a part of that matrix at a time; or with the whole matrix.
"""

SLICE_BYTES = 256 * 2**20
"""Bytes of the matrix of scores that sliced attention has in memory at a time."""

KNOWN_ELEMENTS = 2**20
"""Integer tensors of up to so many elements have known values."""

_VALUE = "_safelight_value"
"""The attribute of a fake tensor of integers with its values, where they are known."""
_READS = frozenset({Tensor.tolist, Tensor.numpy})
"""Functions that read all values of a tensor."""


class PeakCounter(TorchDispatchMode):
    """Counts the bytes of all storages that operations make, while they are alive.

    Args:
        device: The device whose memory is counted; the memory of other devices is not.
        known: Tensors that exist already, such as weights: they and their views are not counted.
        workspace: Whether operations take the workspace that they take on CPUs.

    Attributes:
        live: Bytes that are alive now.
        peak: The most bytes that were alive at once, with the workspace of the operation that was computed then.
    """

    def __init__(
        self, device: torch.device, known: Iterable[Tensor] = (), *, workspace: bool = False
    ) -> None:
        super().__init__()
        self._device_type, self._has_workspace = device.type, workspace
        # The storages are kept, so that no other one gets their identity.
        self._known = {_identity(tensor): tensor.untyped_storage() for tensor in known}
        self._counted: set[int] = set()
        self.live = self.peak = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Compute an operation, and count what it made; a condition on unknown data is taken as met."""
        if QuantizedTensor in types:
            return NotImplemented  # its own operations on the packed parts are counted
        if func is torch.ops.aten._local_scalar_dense.default:
            if hasattr(args[0], _VALUE):
                with _real_tensors():
                    return getattr(args[0], _VALUE).item()
            if args[0].dtype == torch.bool:
                return True
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.device.type == self._device_type:
                self._count(tensor)
        self.peak = max(self.peak, self.live + self._workspace(func, args))
        return result

    def _count(self, tensor: Tensor) -> None:
        identity = _identity(tensor)
        if identity in self._counted or identity in self._known:
            return
        storage = tensor.untyped_storage()
        self._counted.add(identity)
        self.live += storage.nbytes()
        weakref.finalize(storage, self._release, identity, storage.nbytes())

    def _release(self, identity: int, nbytes: int) -> None:
        self._counted.discard(identity)
        self.live -= nbytes

    def _workspace(self, func: Any, args: Sequence[Any]) -> int:
        """Bytes that an operation takes beside its inputs and its result.

        oneDNN, which computes convolutions on CPUs, copies the input and the weights into a layout of its own, and the
        input of a 1 x 1 convolution in half precision twice (measured; tests/runtime/memory_plan/test_counter.py).
        """
        if not self._has_workspace or func is not torch.ops.aten.convolution.default:
            return 0
        data, weight = args[0], args[1]
        twice = weight.shape[-1] == 1 and data.dtype in (torch.bfloat16, torch.float16)
        return int(data.nbytes * (2 if twice else 1) + weight.nbytes)


class ModelledFunctions(TorchFunctionMode):
    """Replaces functions that cannot be computed with fake tensors.

    Scaled dot-product attention becomes tensors of the sizes that one of its kernels has: which kernel torch would
    choose depends on the real device, which may not be here. Integers and masks have their values beside them, computed
    with those of the inputs: lengths and selections depend on them. Experts are chosen equally often.

    Args:
        attention: How attention is computed.
    """

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self._attention = attention

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, or its model."""
        if func is nn.functional.scaled_dot_product_attention:
            return self._attend(*args, **(kwargs or {}))
        given = kwargs or {}
        known = _values((args, given))
        if func in _READS and known is not None:
            return _compute(func, known)
        if known is None and (func is Tensor.__setitem__ or func.__name__.endswith("_")):
            _forget(args[0])
        if func in (Tensor.__getitem__, Tensor.__setitem__):
            args = (args[0], _positions(args[1]), *args[2:])
        elif func in (torch.repeat_interleave, Tensor.repeat_interleave) and "output_size" not in given:
            given = {**given, **_output_size(*args, **given)}
        try:
            result = func(*args, **given)
        except DynamicOutputShapeException:
            if known is None:
                raise
            return _with_values(_compute(func, known), args[0].device)
        if func in (torch.topk, Tensor.topk):
            with _real_tensors():
                chosen = torch.arange(result[1].numel()) % args[0].shape[-1]
                chosen = chosen.view(result[1].shape)
            _remember(result[1], chosen)
        elif known is not None and all(_is_countable(leaf) for leaf in tree_leaves(result)):
            for fake, value in zip(tree_leaves(result), tree_leaves(_compute(func, known)), strict=True):
                _remember(fake, value)
        return result

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
        if {query.device, key.device, value.device} != {query.device}:
            raise RuntimeError(f"Attention over {query.device}, {key.device} and {value.device}.")
        result = query.new_empty((*query.shape[:-1], value.shape[-1]))
        rows = 0 if self._attention == "fused" else query.shape[-2]
        if self._attention == "sliced":
            rows = min(rows, rows_in_slice(query, key))
        scores = query.new_empty((*query.shape[:-2], rows, key.shape[-2]))
        torch.softmax(scores, dim=-1)  # the scores and their softmax are in memory at the same time
        return result


@contextmanager
def _real_tensors() -> Iterator[None]:
    """Compute with real tensors within the block."""
    with torch._C.DisableTorchFunction(), _disable_current_modes():
        yield


def _is_countable(value: Any) -> bool:
    """Whether a value is a tensor whose values may be known."""
    return (
        isinstance(value, Tensor)
        and not (value.is_floating_point() or value.is_complex())
        and value.numel() <= KNOWN_ELEMENTS
    )


def _remember(fake: Any, value: Any) -> None:
    if isinstance(fake, Tensor) and isinstance(value, Tensor) and _is_countable(value):
        setattr(fake, _VALUE, value)


def _forget(fake: Any) -> None:
    if hasattr(fake, _VALUE):
        delattr(fake, _VALUE)


def _values(arguments: Any) -> Any:
    """A call's arguments with the values in place of fake tensors, on the CPU; None where one is not known."""
    if not all(hasattr(leaf, _VALUE) for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)):
        return None

    def value(leaf: Any) -> Any:
        if isinstance(leaf, torch.device):
            return torch.device("cpu")
        return getattr(leaf, _VALUE) if isinstance(leaf, Tensor) else leaf

    return tree_map(value, arguments)


def _compute(func: Any, known: Any) -> Any:
    """Call a function with real tensors."""
    with _real_tensors():
        return func(*known[0], **known[1])


def _with_values(values: Any, device: torch.device) -> Any:
    """Fake tensors in place of real ones, which they remember."""

    def fake(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        made = torch.empty(value.shape, dtype=value.dtype, device=device)
        _remember(made, value)
        return made

    return tree_map(fake, values)


def _positions(index: Any) -> Any:
    """An index whose masks with known values are the positions that they select."""
    parts: list[Any] = []
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, Tensor) and part.dtype == torch.bool and hasattr(part, _VALUE):
            with _real_tensors():
                found = getattr(part, _VALUE).nonzero(as_tuple=True)
            parts += _with_values(found, part.device)
        else:
            parts.append(part)
    return tuple(parts) if isinstance(index, tuple) or len(parts) != 1 else parts[0]


def _output_size(_: Tensor, repeats: Any = None, *__: Any, **___: Any) -> dict[str, int]:
    """The argument of ``repeat_interleave`` that says how long the result is, where that is known."""
    if not isinstance(repeats, Tensor) or not hasattr(repeats, _VALUE):
        return {}
    with _real_tensors():
        value = getattr(repeats, _VALUE)
        return {"output_size": int(value.sum())} if value.numel() > 1 else {}


def rows_in_slice(query: Tensor, key: Tensor) -> int:
    """How many rows of the matrix of scores fit in ``SLICE_BYTES``, at least one.

    Args:
        query: (..., queries, width).
        key: (..., keys, width).
    """
    row_bytes = query.shape[:-2].numel() * key.shape[-2] * query.element_size()
    return max(1, SLICE_BYTES // int(row_bytes))


class FakeNetwork:
    """A network of fake tensors, whose calls are counted.

    Args:
        network: The network, with parameters on torch's meta device or anywhere else; they are replaced.
        device: The device of the fake tensors.
        dtype: Their data type, where it is a floating-point type.
        attention: How attention is computed.
        workspace: Whether operations take the workspace that they take on CPUs.

    Attributes:
        peak: The most bytes that a call took: intermediate results and the result, but no weights and no inputs.
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        dtype: torch.dtype,
        attention: Attention = "fused",
        *,
        workspace: bool = False,
    ) -> None:
        self.network, self.device = network.requires_grad_(False).eval(), device
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self.peak = 0
        self._attention: Attention = attention
        self._workspace = workspace
        self.dtype = dtype

        def fake(tensor: Tensor) -> Tensor:
            wanted = dtype if tensor.is_floating_point() else tensor.dtype
            return torch.empty(tensor.shape, dtype=wanted, device=device)

        with self.mode:
            replace_tensors(network, fake)

    @property
    def tensors(self) -> list[Tensor]:
        """Its weights and buffers; of quantized ones, the packed parts."""
        tensors = [*self.network.parameters(), *self.network.buffers()]
        packed = [
            list(each.packed.values()) if isinstance(each, QuantizedTensor) else [each] for each in tensors
        ]
        return [part for parts in packed for part in parts]

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the network with real tensors, whose shapes and data types are used.

        Returns:
            The method's result with real tensors of ones on the CPU, with which pipelines can compute.
        """
        with self.counting(args, kwargs) as (_, (fake_args, fake_kwargs)):
            result = getattr(self.network, method)(*fake_args, **fake_kwargs)
        return map_tensors(result, lambda tensor: torch.ones(tensor.shape, dtype=tensor.dtype))

    def _fake(self, tensor: Tensor) -> Tensor:
        fake = torch.empty_like(tensor, device=self.device)
        if not tensor.is_meta:
            _remember(fake, tensor)
        return fake

    @contextmanager
    def counting(self, *values: Any) -> Iterator[tuple[PeakCounter, Sequence[Any]]]:
        """Compute with fake tensors on the device within the block, and count them.

        Args:
            values: Values that get fake tensors in place of all tensors; they are not counted.
        """
        with ExitStack() as stack:
            for context in (torch.no_grad(), self.mode, self.device, ModelledFunctions(self._attention)):
                stack.enter_context(context)
            fakes = map_tensors(values, self._fake)
            known = [*self.tensors, *(leaf for leaf in tree_leaves(fakes) if isinstance(leaf, Tensor))]
            with PeakCounter(self.device, known, workspace=self._workspace) as counter:
                yield counter, fakes
        self.peak = max(self.peak, counter.peak)


def replace_tensors(network: nn.Module, replace: Callable[[Tensor], Tensor]) -> None:
    """Replace every weight and buffer of a network; those that are shared stay shared.

    Args:
        network: The network.
        replace: Returns the new tensor for an old one.
    """
    replaced: dict[int, Tensor] = {}
    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if id(parameter) not in replaced:
                    replaced[id(parameter)] = nn.Parameter(replace(parameter), requires_grad=False)
                module._parameters[name] = replaced[id(parameter)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = replaced.setdefault(id(buffer), replace(buffer))


def map_tensors(values: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Nested values with other tensors; also within objects, as an autoencoder's distributions are."""

    def change_leaf(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return change(leaf)
        attributes = getattr(leaf, "__dict__", {})
        if not any(isinstance(value, Tensor) for value in attributes.values()):
            return leaf
        changed = copy.copy(leaf)
        changed.__dict__.update(map_tensors(dict(attributes), change))
        return changed

    return tree_map(change_leaf, values)


def _identity(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
