"""GPUs on Windows through DirectML, where the package torch-directml is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import ClassVar, Self

import torch

from safelight.runtime.devices.device import TorchAccelerator, WithoutStreams
from safelight.runtime.devices.memory import MemoryInfo, host_memory

_PACKAGE = "torch_directml"


class DirectMLDevice(WithoutStreams, TorchAccelerator):
    """A GPU with DirectX 12; torch-directml has no streams, and tells neither its memory nor what is used of it."""

    torch_type: ClassVar[str] = "privateuseone"

    @classmethod
    def named(cls, number: str) -> Self:
        """See ``Device``."""
        return cls(import_module(_PACKAGE).device(int(number or 0)))

    @classmethod
    def is_built(cls) -> bool:
        """See ``Device``."""
        return find_spec(_PACKAGE) is not None

    @classmethod
    def present(cls) -> list[torch.device]:
        """See ``Device``."""
        package = import_module(_PACKAGE)
        return [package.device(number) for number in range(package.device_count())]

    @property
    def title(self) -> str:
        """See ``Device``."""
        return str(import_module(_PACKAGE).device_name(self.torch_device.index or 0)).rstrip("\0")

    @property
    def details(self) -> str:
        """See ``Device``."""
        return "DirectML; its memory is unknown: set memory_budget"

    @property
    def halves(self) -> frozenset[str]:
        """See ``Device``; DirectML has no bf16."""
        return frozenset({"fp16"})

    def memory(self) -> MemoryInfo:
        """See ``Device``: that of the host, since nothing tells of its own."""
        return host_memory()

    def allocated_bytes(self) -> int:
        """See ``Device``: unknown."""
        return 0

    def peak_bytes(self) -> int:
        """See ``Device``: unknown."""
        return 0

    def reset_peak(self) -> bool:
        """See ``Device``."""
        return False

    def empty_cache(self) -> None:
        """See ``Device``: it keeps nothing that could be given back."""

    def synchronize(self) -> None:
        """See ``Device``: copying a value to the host waits for what is computed."""
        torch.ones(1, device=self.torch_device).cpu()

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:  # noqa: ARG002  it takes random numbers from the CPU
        """See ``Device``."""
        yield
