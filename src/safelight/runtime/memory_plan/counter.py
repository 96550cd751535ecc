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
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

Attention = Literal["fused", "sliced", "matrix"]
"""How attention is computed: by a fused kernel (flash or memory-efficient), which has no matrix of scores; in slices of
the queries, with a part of that matrix at a time; or with the whole matrix.
"""

SLICE_BYTES = 256 * 2**20
"""Bytes of the matrix of scores that sliced attention has in memory at a time."""

_LENGTH = "_safelight_length"
"""The attribute of a sum with the number of its addends."""


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
        """Compute an operation, and count what it made; a condition on data, such as a full mask, is taken as met."""
        if func is torch.ops.aten._local_scalar_dense.default and args[0].dtype == torch.bool:
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
    choose depends on the real device, which may not be here. Lengths that are read from masks are those of full masks.

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
        if func is Tensor.item and hasattr(args[0], _LENGTH):
            return getattr(args[0], _LENGTH)
        result = func(*args, **(kwargs or {}))
        if func is Tensor.sum and result.ndim:
            setattr(result, _LENGTH, args[0].numel() // result.numel())
        if func is Tensor.unbind and hasattr(args[0], _LENGTH):  # as the first part of ``tolist``
            for part in result:
                setattr(part, _LENGTH, getattr(args[0], _LENGTH))
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
        """Its weights and buffers."""
        return [*self.network.parameters(), *self.network.buffers()]

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the network with real tensors, whose shapes and data types are used.

        Returns:
            The method's result with real tensors of ones on the CPU, with which pipelines can compute.
        """
        with self.counting(args, kwargs) as (_, (fake_args, fake_kwargs)):
            result = getattr(self.network, method)(*fake_args, **fake_kwargs)
        return map_tensors(result, lambda tensor: torch.ones(tensor.shape, dtype=tensor.dtype))

    @contextmanager
    def counting(self, *values: Any) -> Iterator[tuple[PeakCounter, Sequence[Any]]]:
        """Compute with fake tensors on the device within the block, and count them.

        Args:
            values: Values that get fake tensors in place of all tensors; they are not counted.
        """
        with ExitStack() as stack:
            for context in (torch.no_grad(), self.mode, self.device, ModelledFunctions(self._attention)):
                stack.enter_context(context)
            fakes = map_tensors(values, lambda tensor: torch.empty_like(tensor, device=self.device))
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
