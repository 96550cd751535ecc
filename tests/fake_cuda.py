"""A CUDA device that is not there: tensors on it are torch's fake tensors, which raise on wrong devices and types.

Everything else is real: code runs as on a machine with a GPU, loads networks onto ``cuda``, copies to and from it, asks
the driver for its memory, and gets torch's error where a call mixes devices. Beside its shape a fake tensor remembers
its values, computed on the CPU, as long as those of all inputs are known. So small networks give whole pictures, and a
network whose weights are only sizes costs nothing (``FakeCuda.sizes_of``); the values of its results are not known, and
code that asks for one gets an error, apart from questions whether something is finite.

What such tests cannot show: kernels, their speed and their numerics.
"""

from __future__ import annotations

import sys
import threading
import traceback
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten

from safelight.runtime.memory_plan.counter import replace_tensors
from safelight.runtime.quantization.tensor import QuantizedTensor

GB = 10**9
CPU, CUDA, META = torch.device("cpu"), torch.device("cuda"), torch.device("meta")
SOURCE = str(Path(sys.modules["safelight"].__path__[0]))
_VALUE = "_value_on_cpu"
_aten = torch.ops.aten
_ONE_TYPE = frozenset(
    {
        _aten.addmm.default,
        _aten.addbmm.default,
        _aten.mm.default,
        _aten.bmm.default,
        _aten.baddbmm.default,
        _aten.convolution.default,
        _aten.native_layer_norm.default,
        _aten.native_group_norm.default,
    }
)
"""Operations whose floating-point inputs must have one type on CUDA. Some of them take two on CPUs, and torch's fake
tensors do not check all of them."""

_COMPOSITE = frozenset({_aten.to.dtype_layout, _aten.to.device, _aten.to.dtype, _aten.to.other})
_PIN = frozenset({_aten.pin_memory.default, _aten._pin_memory.default})


class UnknownValueError(AssertionError):
    """The value of something was asked for that was not computed."""


class FakeCuda:
    """One CUDA device, used by entering ``fake_cuda``.

    Args:
        total: Bytes of its memory. What exceeds it raises ``torch.OutOfMemoryError``.
        capability: Its compute capability.
        name: Its name.

    Attributes:
        foreign: Bytes that other programs have taken.
        allocated: Bytes of all tensors that are alive.
        peak: The most bytes since ``reset_peak``.
        syncs: How often the host waited for the device, by the line of Safelight's code that made it wait.
    """

    def __init__(
        self, total: int = 24 * GB, capability: tuple[int, int] = (8, 9), name: str = "NVIDIA"
    ) -> None:
        self.total, self.capability, self.name = total, capability, name
        self.foreign = self.allocated = self.peak = 0
        self.syncs: Counter[str] = Counter()
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._lock = threading.RLock()
        self._storages: set[int] = set()
        self._unknown: dict[int, Any] = {}

    @property
    def free(self) -> int:
        """Bytes that are free."""
        return max(0, self.total - self.foreign - self.allocated)

    def sizes_of(self, network: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
        """Put a network on the device whose weights have sizes, but no values; it may be on torch's meta device.

        Args:
            network: The network; it is changed.
            dtype: The type of its floating-point weights; by default the one that they have.
        """

        def place(tensor: Tensor) -> Tensor:
            wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
            return self.empty(tensor.shape, wanted)

        replace_tensors(network, place)
        return network.requires_grad_(False).eval()

    def empty(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device = CUDA) -> Tensor:
        """A tensor without values, on the device or on the host."""
        with self._lock, self._fake:
            tensor = torch.empty(tuple(shape), dtype=dtype, device=device)
        self._count(tensor)
        return tensor

    def reset_peak(self, *_: Any) -> None:
        """Measure the peak from now on."""
        self.peak = self.allocated

    @contextmanager
    def in_thread(self) -> Iterator[None]:
        """Let this thread use the device within the block."""
        lifts = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(
            True
        )  # as FakeTensorMode does: ``torch.tensor`` makes none on the device
        torch._C._ensureCUDADeviceGuardSet()
        try:
            with _Functions(self), _Dispatch(self):
                yield
        finally:
            torch._C._set_only_lift_cpu_tensors(lifts)

    def compute(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Compute an operation with tensors on the device, or one that makes or reads one."""
        special = _SPECIAL.get(func, FakeCuda._compute)
        return special(self, func, *args, **kwargs)

    def _compute(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        leaves, structure = tree_flatten((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        _check_types(func, tensors)
        _check_generator(func, kwargs)
        known = all(map(self.knows, tensors))
        value = _values_on_cpu(func, tree_unflatten(map(_on_cpu, leaves), structure)) if known else None
        try:
            with self._fake:
                result = func(*args, **kwargs)
        except (DynamicOutputShapeException, DataDependentOutputException) as error:
            if not known:
                raise UnknownValueError(f"{func} depends on values that are not known.") from error
            self.note_sync()
            result = tree_map_only(Tensor, lambda each: self.empty(each.shape, each.dtype), value)
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, FakeTensor)]
        if known:
            for leaf, own in zip(made, (v for v in tree_leaves(value) if isinstance(v, Tensor)), strict=True):
                setattr(leaf, _VALUE, own)
        else:
            self._forget_changed(func, args, kwargs)
        for leaf in made:
            self._count(leaf)
        return result

    def knows(self, tensor: Tensor) -> bool:
        """Whether the values of a tensor are known."""
        if not isinstance(tensor, FakeTensor):
            return not tensor.is_meta
        value = getattr(tensor, _VALUE, None)
        return value is not None and value.untyped_storage()._cdata not in self._unknown

    def value(self, tensor: Tensor) -> Tensor:
        """The values of a tensor, on the CPU.

        Raises:
            UnknownValueError: They are not known.
        """
        if not self.knows(tensor):
            raise UnknownValueError(f"The values of a tensor {tuple(tensor.shape)} are not known.")
        found: Tensor = getattr(tensor, _VALUE) if isinstance(tensor, FakeTensor) else tensor
        return found

    def to_host(self, tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """A copy on the CPU; ones where the values are not known."""
        self.note_sync()
        wanted = dtype or tensor.dtype
        if self.knows(tensor):
            return self.value(tensor).to(wanted, copy=True)
        return torch.ones(tensor.shape, dtype=wanted)

    def note_sync(self) -> None:
        """The host waits for the device."""
        for frame in reversed(traceback.extract_stack(limit=60)):
            if frame.filename.startswith(SOURCE):
                self.syncs[f"{frame.filename[len(SOURCE) + 1 :]}:{frame.name}: {frame.line}"] += 1
                return

    def _forget_changed(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """What an operation changed in place is not known any more."""
        for argument, given in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self._forget(given)
        for argument in func._schema.arguments:
            if argument.name in kwargs and argument.alias_info is not None and argument.alias_info.is_write:
                self._forget(kwargs[argument.name])

    def _forget(self, changed: Any) -> None:
        for leaf in tree_leaves(changed):
            if isinstance(leaf, FakeTensor) and (value := getattr(leaf, _VALUE, None)) is not None:
                storage = value.untyped_storage()
                self._unknown[storage._cdata] = storage  # kept, so that no other one gets its identity

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        identity, nbytes = storage._cdata, storage.nbytes()
        if identity in self._storages or tensor.device.type != "cuda":
            return
        if nbytes > self.free:
            raise torch.OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {nbytes} bytes; {self.free} of {self.total} are free."
            )
        self._storages.add(identity)
        self.allocated += nbytes
        self.peak = max(self.peak, self.allocated)
        weakref.finalize(storage, self._release, identity, nbytes)

    def _release(self, identity: int, nbytes: int) -> None:
        self._storages.discard(identity)
        self.allocated -= nbytes


class _Dispatch(TorchDispatchMode):
    """Computes what is on the device as fake tensors, and everything else as usual."""

    def __init__(self, cuda: FakeCuda) -> None:
        super().__init__()
        self._cuda = cuda

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE) is not None:
            return func(
                *args, **kwargs
            )  # somebody else's fake tensors, such as those of a plan of the memory
        if QuantizedTensor in types:
            return NotImplemented  # its own operations on the packed parts come here
        if func in _COMPOSITE:  # from within a tensor class, which is below what takes them apart
            with self:
                return func.decompose(*args, **kwargs)
        device = kwargs.get("device")
        on_device = device is not None and torch.device(device).type == "cuda"
        without_values = func is _aten._to_copy.default and args[0].is_meta and device not in (None, META)
        if func in _PIN:
            return args[0].clone()
        if on_device or without_values or any(issubclass(kind, FakeTensor) for kind in types):
            with self._cuda._lock:
                return self._cuda.compute(func, args, kwargs)
        return func(*args, **kwargs)


class _Functions(TorchFunctionMode):
    """Functions that look for the real device.

    Attention is that of a fused kernel, without a matrix of scores: which kernel torch chooses depends on the device.
    ``torch.tensor`` reads numbers out of tensors without asking the dispatcher.
    """

    def __init__(self, cuda: FakeCuda) -> None:
        super().__init__()
        self._cuda = cuda

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is nn.functional.scaled_dot_product_attention:
            return self._attend(*args, **(kwargs or {}))
        if func is torch.tensor and any(isinstance(leaf, FakeTensor) for leaf in tree_leaves(args[0])):
            args = (tree_map_only(FakeTensor, lambda number: number.item(), args[0]), *args[1:])
        return func(*args, **(kwargs or {}))

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        attend = nn.functional.scaled_dot_product_attention
        given = [each for each in (query, key, value, attn_mask) if each is not None]
        if not any(isinstance(each, FakeTensor) for each in given):
            return attend(query, key, value, attn_mask, *args, **kwargs)
        if len({each.device for each in given}) > 1:
            raise RuntimeError(f"Attention over tensors on {[str(each.device) for each in given]}.")
        types = {query.dtype, key.dtype, value.dtype}
        if attn_mask is not None and attn_mask.dtype != torch.bool:
            types.add(attn_mask.dtype)
        if len(types) > 1:
            raise RuntimeError(f"Expected query, key, and value to have the same dtype, but got {types}.")
        result = query.new_empty((*query.shape[:-1], value.shape[-1]))
        if all(map(self._cuda.knows, given)):
            values = [
                None if each is None else self._cuda.value(each) for each in (query, key, value, attn_mask)
            ]
            with torch._C.DisableTorchFunction(), _disable_current_modes():
                setattr(result, _VALUE, attend(*values, *args, **kwargs))
        elif hasattr(result, _VALUE):
            delattr(result, _VALUE)
        return result


def _values_on_cpu(func: Any, arguments: Any) -> Any:
    args, kwargs = arguments
    return func(*args, **kwargs)


def _on_cpu(value: Any) -> Any:
    """An argument of an operation on the CPU, in place of the one on the device."""
    if isinstance(value, FakeTensor):
        return getattr(value, _VALUE)
    return CPU if isinstance(value, torch.device) and value.type == "cuda" else value


def _check_types(func: Any, tensors: Sequence[Tensor]) -> None:
    if func in _ONE_TYPE:
        types = {tensor.dtype for tensor in tensors if tensor.is_floating_point()}
        if len(types) > 1:
            raise RuntimeError(f"{func} got several types: {sorted(map(str, types))}.")


def _check_generator(func: Any, kwargs: Mapping[str, Any]) -> None:
    generator = kwargs.get("generator")
    if generator is not None and generator.device.type != "cuda":
        raise RuntimeError(f"{func}: Expected a 'cuda' device type for generator but found 'cpu'")


def _copy_to(cuda: FakeCuda, func: Any, source: Tensor, **kwargs: Any) -> Tensor:
    """``tensor.to(…)``."""
    device = kwargs.get("device")
    if source.is_meta:
        return cuda.empty(source.shape, kwargs.get("dtype") or source.dtype, kwargs["device"])
    if source.device.type == "cuda" and device is not None and torch.device(device).type == "cpu":
        return cuda.to_host(source, kwargs.get("dtype"))
    return cuda._compute(func, source, **kwargs)


def _copy_into(
    cuda: FakeCuda, func: Any, target: Tensor, source: Tensor, *args: Any, **kwargs: Any
) -> Tensor:
    """``tensor.copy_(…)``."""
    if isinstance(target, FakeTensor):
        return cuda._compute(func, target, source, *args, **kwargs)
    return target.copy_(cuda.to_host(source))


def _item(cuda: FakeCuda, _: Any, tensor: Tensor) -> Any:
    """``tensor.item()``; a condition on what is not known counts as met."""
    cuda.note_sync()
    if tensor.dtype == torch.bool and not cuda.knows(tensor):
        return True
    return cuda.value(tensor).item()


def _index(
    cuda: FakeCuda, func: Any, data: Tensor, indices: Sequence[Any], *args: Any, **kwargs: Any
) -> Tensor:
    """``tensor[…]``; how many values a mask selects depends on the mask alone."""
    positions: list[Any] = []
    for index in indices:
        if index is not None and index.dtype == torch.bool and not cuda.knows(data) and cuda.knows(index):
            cuda.note_sync()
            chosen = cuda.value(index).nonzero(as_tuple=True)
            positions += [cuda._compute(_aten._to_copy.default, each, device=index.device) for each in chosen]
        else:
            positions.append(index)
    return cuda._compute(func, data, positions, *args, **kwargs)


def _equal(cuda: FakeCuda, _: Any, first: Tensor, second: Tensor) -> bool:
    cuda.note_sync()
    if first.device != second.device:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but got {first.device}, {second.device}."
        )
    return torch.equal(cuda.value(first), cuda.value(second))


_SPECIAL: dict[Any, Callable[..., Any]] = {
    _aten._to_copy.default: _copy_to,
    _aten.copy_.default: _copy_into,
    _aten._local_scalar_dense.default: _item,
    _aten.equal.default: _equal,
    _aten.index.Tensor: _index,
    _aten.index_put.default: _index,
    _aten.index_put_.default: _index,
}
"""Operations between the device and the host."""


class _Stream:
    """A stream of the device, on which nothing takes time."""

    device = torch.device("cuda:0")

    def wait_stream(self, _: _Stream) -> None:
        """Wait for another stream."""

    def synchronize(self) -> None:
        """Wait until it is done."""


@contextmanager
def fake_cuda(
    total: int = 24 * GB, capability: tuple[int, int] = (8, 9), name: str = "NVIDIA"
) -> Iterator[FakeCuda]:
    """A CUDA device within the block, in this thread and in those that start within it; see ``FakeCuda``."""
    cuda = FakeCuda(total, capability, name)
    stream, run = _Stream(), threading.Thread.run

    def run_with_device(thread: threading.Thread) -> None:
        with cuda.in_thread():
            run(thread)

    functions: dict[str, Any] = {
        # What FakeTensorMode does where no CUDA device is: it never asks for a real one.
        "torch._subclasses.fake_tensor.FakeTensorMode.avoid_device_init": True,
        "torch.cuda._lazy_init": lambda: None,
        "torch.cuda.is_available": lambda: True,
        "torch.cuda.is_initialized": lambda: True,
        "torch.cuda.device_count": lambda: 1,
        "torch.cuda.current_device": lambda: 0,
        "torch.cuda.get_device_name": lambda *_: cuda.name,
        "torch.cuda.get_device_capability": lambda *_: cuda.capability,
        "torch.cuda.is_bf16_supported": lambda *_, **__: cuda.capability >= (8, 0),
        "torch.cuda.mem_get_info": lambda *_: (cuda.free, cuda.total),
        "torch.cuda.memory_allocated": lambda *_: cuda.allocated,
        "torch.cuda.memory_reserved": lambda *_: cuda.allocated,
        "torch.cuda.max_memory_allocated": lambda *_: cuda.peak,
        "torch.cuda.reset_peak_memory_stats": cuda.reset_peak,
        "torch.cuda.empty_cache": lambda: None,
        "torch.cuda.synchronize": lambda *_: cuda.note_sync(),
        "torch.cuda.manual_seed": lambda _: None,
        "torch.cuda.get_rng_state": lambda *_: torch.zeros(16, dtype=torch.uint8),
        "torch.cuda.set_rng_state": lambda *_: None,
        "torch.cuda.device": lambda _: nullcontext(),
        "torch.cuda.Stream": lambda *_: stream,
        "torch.cuda.stream": lambda _: nullcontext(),
        "torch.cuda.current_stream": lambda *_: stream,
        "torch.accelerator.current_accelerator": lambda *_, **__: CUDA,
        "torch.accelerator.is_available": lambda: True,
        "torch.Tensor.record_stream": lambda *_: None,
        "threading.Thread.run": run_with_device,
    }
    with _all_patched(functions), cuda.in_thread():
        yield cuda


@contextmanager
def _all_patched(functions: Mapping[str, Any]) -> Iterator[None]:
    if not functions:
        yield
        return
    (name, function), *rest = functions.items()
    with patch(name, function), _all_patched(dict(rest)):
        yield
