"""Block offload: a network's blocks stay in the host's memory, and each is on the device only while it computes.

The next block is copied while one computes, on a stream of its own where the device has streams. Results do not change.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from safelight.runtime.devices import device_of
from safelight.runtime.memory_plan.counter import replace_tensors
from safelight.runtime.quantization.tensor import stored_nbytes

BLOCK_SHARE = 1 / 16
"""A block with a larger share of its network's bytes is divided, if it consists of blocks itself."""
COVERED = 0.9
"""The share of a block's bytes that its own blocks must have."""
PINNED_MB = 1
"""Pinned memory of more MiB than this is allocated in its exact size."""


def find_blocks(network: nn.Module) -> list[nn.Module]:
    """The blocks of a network: the items of its module lists, large ones divided into their own."""
    return list(_blocks_within(network, BLOCK_SHARE * module_bytes(network)))


def module_bytes(module: nn.Module) -> int:
    """Bytes of a module's weights and buffers."""
    return sum(stored_nbytes(tensor) for tensor in {id(each): each for each in _tensors(module)}.values())


def bytes_outside_blocks(network: nn.Module) -> int:
    """Bytes of the weights and buffers that belong to no block, and so stay on the device."""
    inside = {id(tensor) for block in find_blocks(network) for tensor in _tensors(block)}
    return sum(
        stored_nbytes(t) for t in {id(t): t for t in _tensors(network)}.values() if id(t) not in inside
    )


def largest_block(network: nn.Module) -> int:
    """Bytes of the largest block; 0 if there is none."""
    return max(map(module_bytes, find_blocks(network)), default=0)


class BlockOffload:
    """Offloads the blocks of a network, for as long as the network exists.

    Args:
        network: The network, with all weights in the host's memory or mapped from a file; those that belong to no block
            are moved to the device.
        device: Where it computes. On a CPU, blocks are copied from the file that their weights are mapped from.
        dtype: The data type in which it computes; None for that of the weights.
        keep: Bytes of weights that may be on the device; as many blocks stay there as this has room for.
        mapped: The weights are mapped from a file, and stay there: they take no memory of the host.
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        dtype: torch.dtype | None = None,
        keep: int = 0,
        *,
        mapped: bool = False,
    ) -> None:
        self._device, self._dtype = device, dtype
        self._computing = device_of(device)
        self._stream = self._computing.new_stream()
        self._pinned = self._stream is not None and not mapped
        self._prefetches = device.type != "cpu"
        # The host waits for copies of memory that is not pinned: they begin when the block before has begun to compute.
        self._early = self._computing.has_streams and not mapped
        if self._pinned:
            _pin_exact_sizes()
        blocks = find_blocks(network)
        room = keep - bytes_outside_blocks(network) - 2 * max(map(module_bytes, blocks), default=0)
        self._blocks = []
        for block in blocks:
            size = module_bytes(block)
            if size <= room:
                room -= size
            else:
                self._blocks.append(block)
        inside = {id(tensor) for block in self._blocks for tensor in _tensors(block)}
        replace_tensors(network, lambda tensor: self._place(tensor, id(tensor) in inside))
        self._host = [_named_tensors(block) for block in self._blocks]
        self._copies: dict[int, list[Tensor]] = {}
        self._following: dict[int, int] = {}
        self._last = 0
        for number, block in enumerate(self._blocks):
            block.register_forward_pre_hook(lambda *_, number=number: self._enter(number))
            block.register_forward_hook(lambda *_, number=number: self._leave(number), always_call=True)

    def _place(self, tensor: Tensor, in_block: bool) -> Tensor:
        """A tensor where it stays: on the device, or in the host's memory, from which streams copy if it is pinned."""
        if not in_block:
            return _moved(tensor, self._device, self._dtype)
        return tensor.pin_memory() if self._pinned else tensor.detach()

    def _enter(self, number: int) -> None:
        """Put a block on the device."""
        self._following[self._last], self._last = number, number
        if number not in self._copies:
            self._prefetch(number)
        copies = self._copies.pop(number)
        if self._stream is not None:
            self._computing.wait_for(self._stream, copies)
        for (tensors, name, _), copied in zip(self._host[number], copies, strict=True):
            tensors[name] = copied
        if self._early:
            self._prefetch_next(number)

    def _leave(self, number: int) -> None:
        """Put a block's host tensors back; nothing is copied, since weights do not change."""
        if self._prefetches and not self._early:
            self._prefetch_next(number)
        for tensors, name, host in self._host[number]:
            tensors[name] = host

    def _prefetch_next(self, number: int) -> None:
        """Copy the block that came after this one the last time."""
        following = self._following.get(number, (number + 1) % len(self._blocks))
        if following not in (number, *self._copies):
            self._prefetch(following)

    def _prefetch(self, number: int) -> None:
        """Copy a block, in place of one that was copied and is not needed."""
        self._copies.clear()
        with self._computing.on_stream(self._stream):
            self._copies[number] = [
                _moved(host, self._device, self._dtype) for _, _, host in self._host[number]
            ]


def _pin_exact_sizes() -> None:
    """Let torch pin as much memory as is asked for, and free it: it would take powers of two, and keep them."""
    own = f"pinned_max_round_threshold_mb:{PINNED_MB},pinned_max_cached_size_mb:{PINNED_MB}"
    given = torch._C._accelerator_getAllocatorSettings()
    if own not in given:
        torch._C._accelerator_setAllocatorSettings(f"{given},{own}" if given else own)


def _moved(tensor: Tensor, device: torch.device, dtype: torch.dtype | None) -> Tensor:
    """A copy of a tensor on a device, in a data type where it is a floating-point tensor."""
    wanted = dtype if tensor.is_floating_point() else None
    moved = tensor.detach().to(device, wanted, non_blocking=True, copy=True)
    return nn.Parameter(moved, requires_grad=False) if isinstance(tensor, nn.Parameter) else moved


def _named_tensors(block: nn.Module) -> list[tuple[dict[str, Any], str, Tensor]]:
    """Where a block's tensors are kept, under which name, and the tensors."""
    return [
        (tensors, name, tensor)
        for module in block.modules()
        for tensors in (module._parameters, module._buffers)
        for name, tensor in tensors.items()
        if tensor is not None
    ]


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _blocks_within(module: nn.Module, limit: float) -> Iterator[nn.Module]:
    for child in module.children():
        if not isinstance(child, nn.ModuleList):
            yield from _blocks_within(child, limit)
            continue
        for item in child:
            divided = list(_blocks_within(item, limit)) if module_bytes(item) > limit else []
            whole = sum(map(module_bytes, divided)) < COVERED * module_bytes(item)
            yield from [item] if whole else divided
