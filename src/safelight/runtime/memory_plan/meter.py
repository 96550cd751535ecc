"""Measure the peak memory of each stage of a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from safelight.runtime.devices import device_of


class StageMeter:
    """Measures the most memory that each stage took: networks and what is computed with them.

    On an accelerator that is what torch allocated, on a CPU (Linux) the process's own memory, not mapped files: beyond
    what it had before without the networks that were in memory then; what other threads do meanwhile counts as well.
    As in plans, networks that stay in memory although nobody uses them do not count.

    Args:
        device: The device.
        loaded: Bytes of the networks in memory at the beginning.
        idle: Returns the bytes of those in memory that nobody uses.

    Attributes:
        peaks: Bytes by stage; empty where they cannot be measured.
    """

    def __init__(self, device: torch.device, loaded: int, idle: Callable[[], int] = lambda: 0) -> None:
        self._device, self._idle = device_of(device), idle
        self._before = self._device.allocated_bytes() - loaded
        self._stage, self._measurable, self._changed = "", True, False
        self.peaks: dict[str, int] = {}

    def begin(self, stage: str) -> None:
        """A stage begins, and the one before it ends; an empty name ends the last one."""
        if stage == self._stage:
            return
        self._record()
        self._stage, self._changed = stage, False
        self._reset()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A network takes the place of another one within the block; what loading it takes is not measured."""
        if self._changed:  # else the network is still that of the stage before
            self._record()
        try:
            yield
        finally:
            self._changed = True
            self._reset()

    def _record(self) -> None:
        if self._stage and (peak := self._peak() - self._idle()) > 0:
            self.peaks[self._stage] = max(self.peaks.get(self._stage, 0), peak)

    def _peak(self) -> int:
        return self._device.peak_bytes() - self._before if self._measurable else 0

    def _reset(self) -> None:
        self._measurable = self._device.reset_peak()
