"""Block offload: a network's blocks stay in the host's memory, and each is on the device only while it computes.

The next block is copied while one computes, on a stream of its own where the device has streams. Results do not change.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from safelight.runtime.memory_plan.counter import replace_tensors
from safelight.runtime.quantization.tensor import stored_nbytes

BLOCK_SHARE = 1 / 16
"""A block with a larger share of its network's bytes is divided, if it consists of blocks itself."""
COVERED = 0.9
"""The share of a block's bytes that its own blocks must have."""


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
    """

    def __init__(
        self, network: nn.Module, device: torch.device, dtype: torch.dtype | None = None, keep: int = 0
    ) -> None:
        self._device, self._dtype = device, dtype
        blocks = find_blocks(network)
        room = keep - bytes_outside_blocks(network) - 2 * max(map(module_bytes, blocks), default=0)
        self._blocks = []
        for block in blocks:
            size = module_bytes(block)
            if size <= room:
                room -= size
            else:
                self._blocks.append(block)
        streams = device.type == "cuda" and torch.cuda.is_available()
        self._stream = torch.cuda.Stream(device) if streams else None
        inside = {id(tensor) for block in self._blocks for tensor in _tensors(block)}
        replace_tensors(network, lambda tensor: self._place(tensor, id(tensor) in inside))
        self._host = [_named_tensors(block) for block in self._blocks]
        self._copies: dict[int, list[Tensor]] = {}
        for number, block in enumerate(self._blocks):
            block.register_forward_pre_hook(lambda *_, number=number: self._enter(number))
            block.register_forward_hook(lambda *_, number=number: self._leave(number), always_call=True)

    def _place(self, tensor: Tensor, in_block: bool) -> Tensor:
        """A tensor where it stays: on the device, or in the host's memory, from which streams copy if it is pinned."""
        if not in_block:
            return _moved(tensor, self._device, self._dtype)
        return tensor.pin_memory() if self._stream is not None else tensor.detach()

    def _enter(self, number: int) -> None:
        """Put a block on the device, and start to copy the next one."""
        copies = self._copies.pop(number, None) or self._copy(number)
        if self._stream is not None:
            torch.cuda.current_stream(self._device).wait_stream(self._stream)
            for copied in copies:
                copied.record_stream(torch.cuda.current_stream(self._device))
        for (tensors, name, _), copied in zip(self._host[number], copies, strict=True):
            tensors[name] = copied
        following = (number + 1) % len(self._blocks)
        if self._stream is not None and following != number:
            self._copies = {following: self._copies.get(following) or self._copy(following)}

    def _leave(self, number: int) -> None:
        """Put a block's host tensors back; nothing is copied, since weights do not change."""
        for tensors, name, host in self._host[number]:
            tensors[name] = host

    def _copy(self, number: int) -> list[Tensor]:
        with torch.cuda.stream(self._stream):  # does nothing without a stream
            return [_moved(host, self._device, self._dtype) for _, _, host in self._host[number]]


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
