"""GPUs of Intel."""

from __future__ import annotations

from typing import ClassVar

import torch

from safelight.runtime.devices.device import TorchAccelerator
from safelight.runtime.devices.memory import MemoryInfo, host_memory


class XpuDevice(TorchAccelerator):
    """A GPU of Intel."""

    torch_type: ClassVar[str] = "xpu"

    @property
    def halves(self) -> frozenset[str]:
        """See ``Device``."""
        return frozenset({"bf16", "fp16"} if torch.xpu.is_bf16_supported() else {"fp16"})

    @property
    def details(self) -> str:
        """See ``Device``."""
        return f"driver {torch.xpu.get_device_properties(self.torch_device).driver_version}"

    def memory(self) -> MemoryInfo:
        """See ``Device``; drivers of GPUs in processors don't tell what is free of the memory that they share."""
        try:
            return super().memory()
        except RuntimeError:
            total = int(torch.xpu.get_device_properties(self.torch_device).total_memory)
            free = min(total - self.allocated_bytes(), host_memory().free + self._cached_bytes())
            return MemoryInfo(total, free)
