"""GPUs of Apple, which share the memory of the host."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch

from safelight.runtime.devices.device import TorchAccelerator, WithoutStreams
from safelight.runtime.devices.memory import MemoryInfo, host_memory


class MpsDevice(WithoutStreams, TorchAccelerator):
    """The GPU of a Mac; bf16 came with macOS 14."""

    torch_type: ClassVar[str] = "mps"
    shares_host_memory: ClassVar[bool] = True

    @property
    def title(self) -> str:
        """See ``Device``."""
        return f"Apple GPU ({platform.machine()})"

    @property
    def details(self) -> str:
        """See ``Device``."""
        return f"Metal, macOS {platform.mac_ver()[0]}, memory shared with the processor"

    def memory(self) -> MemoryInfo:
        """See ``Device``: what Metal recommends as the most, as far as the host has it free."""
        total, allocated = torch.mps.recommended_max_memory(), torch.mps.current_allocated_memory()
        cached = torch.mps.driver_allocated_memory() - allocated
        return MemoryInfo(total, min(total - allocated, host_memory().free + cached))

    def allocated_bytes(self) -> int:
        """See ``Device``."""
        return int(torch.mps.current_allocated_memory())

    def peak_bytes(self) -> int:
        """See ``Device``: unknown."""
        return 0

    def reset_peak(self) -> bool:
        """See ``Device``."""
        return False

    def empty_cache(self) -> None:
        """See ``Device``."""
        torch.mps.empty_cache()

    def synchronize(self) -> None:
        """See ``Device``."""
        torch.mps.synchronize()

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """See ``Device``."""
        before = torch.mps.get_rng_state()
        torch.mps.manual_seed(seed)
        try:
            yield
        finally:
            torch.mps.set_rng_state(before)
