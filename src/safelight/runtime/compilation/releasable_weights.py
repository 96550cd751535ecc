"""The weights of an eager network, which can be released while compiled forms take its place, and read again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from safelight.runtime.pool import release_freed_memory

KEPT_BYTES = 64 * 2**10
"""Weights up to this size stay: norms and statistics, which pipelines read beside the network's calls."""


class ReleasableWeights:
    """The weights of a network in memory. Called by one thread at a time.

    Args:
        network: The network. The object stays, with its configuration, data type and device.
        read: Reads it again: an equal network, with its weights.

    Attributes:
        are_released: Whether the large weights are not in memory, so that the network cannot compute.
        users: The number of pictures in progress that use the eager network.
        on_resize: Called with the bytes that the weights take after they were released or read again.
    """

    def __init__(self, network: nn.Module, read: Callable[[], nn.Module]) -> None:
        self._network, self._read = network, read
        self.are_released = False
        self.users = 0
        self.on_resize: Callable[[int], None] = lambda _: None

    def release(self) -> None:
        """Release the large weights, unless a picture uses them."""
        if self.users or self.are_released:
            return
        for tensor in _tensors(self._network):
            if tensor.nbytes > KEPT_BYTES:
                tensor.data = tensor.data.new_empty(0)
        self.are_released = True
        release_freed_memory()  # also what compiling took
        self.on_resize(self._nbytes)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the weights in memory within the block; they are read again if they are released.

        Raises:
            ModelError: The files were replaced meanwhile, or cannot be read.
        """
        self._restore()
        self.users += 1
        try:
            yield
        finally:
            self.users -= 1

    def _restore(self) -> None:
        if not self.are_released:
            return
        fresh = self._read()
        for tensor, whole in zip(_tensors(self._network), _tensors(fresh), strict=True):
            tensor.data = whole.data
        self.are_released = False
        self.on_resize(self._nbytes)

    @property
    def _nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in _tensors(self._network))


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    yield from network.parameters()
    yield from network.buffers()
