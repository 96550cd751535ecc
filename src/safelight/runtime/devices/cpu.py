"""The CPU, whose memory is the host's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Self

import psutil
import torch

from safelight.runtime.allocator import give_back_freed_memory
from safelight.runtime.devices.device import HALVES, WithoutStreams
from safelight.runtime.devices.memory import HOST_SHARE, DeviceMemory, MemoryInfo, host_memory
from safelight.runtime.machine import inspect_machine, usable_cores

NODES = Path("/sys/devices/system/node")
"""Where Linux lists the nodes of the memory (NUMA)."""
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
"""Where Linux says for whom it makes huge pages."""
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class CpuDevice(WithoutStreams):
    """The machine's processors, as one device.

    Networks run in fp32 where the settings leave it open: a seed then gives the same picture everywhere.
    """

    fp32_by_default: ClassVar[bool] = True
    shares_host_memory: ClassVar[bool] = True

    def __init__(self, torch_device: torch.device) -> None:
        self.torch_device = torch_device

    @classmethod
    def named(cls, number: str) -> Self:
        """See ``Device``."""
        return cls(torch.device(f"cpu:{number}" if number else "cpu"))

    @classmethod
    def is_built(cls) -> bool:
        """See ``Device``."""
        return True

    @classmethod
    def present(cls) -> list[torch.device]:
        """See ``Device``."""
        return [torch.device("cpu")]

    @property
    def title(self) -> str:
        """See ``Device``."""
        return inspect_machine().processor

    @property
    def details(self) -> str:
        """See ``Device``."""
        counts = (
            (physical_cores(), "physical core"),
            (torch.get_num_threads(), "thread"),
            (memory_nodes(), "memory node"),
        )
        parts = [f"{count} {name}{'' if count == 1 else 's'}" for count, name in counts]
        units = inspect_machine().vector_units
        return ", ".join([*parts, f"huge pages {huge_pages()}", *units])

    @property
    def halves(self) -> frozenset[str]:
        """See ``Device``; a measurement tells which of them is faster than fp32."""
        return frozenset(HALVES)

    def holds(self, precision: str) -> bool:
        """See ``Device``."""
        return precision in (*HALVES, "fp32")

    def memory(self) -> MemoryInfo:
        """See ``Device``."""
        return host_memory()

    def usable_memory(self, budget: int, own: int = 0) -> DeviceMemory:
        """See ``Device``."""
        memory = host_memory()
        usable = memory.usable(own)
        return DeviceMemory("cpu", memory.total, min(budget, usable) if budget else usable, usable)

    def weights_budget(self, setting: int) -> int:
        """See ``Device``."""
        return setting or int(HOST_SHARE * host_memory().total)

    def allocated_bytes(self) -> int:
        """See ``Device``: the process's own memory, without mapped files (Linux)."""
        return _status("RssAnon")

    def peak_bytes(self) -> int:
        """See ``Device``."""
        return _status("VmHWM") - _status("RssFile")

    def reset_peak(self) -> bool:
        """See ``Device``. Freed memory that the C library keeps would count."""
        give_back_freed_memory()
        try:
            _CLEAR.write_text("5")  # the peak of resident memory counts from now on
        except OSError:
            return False
        return True

    def empty_cache(self) -> None:
        """See ``Device``: torch keeps nothing; the C library's share is ``allocator.trim``'s."""

    def synchronize(self) -> None:
        """See ``Device``: it never computes in the background."""

    def prepare(self) -> None:
        """See ``Device``: nothing."""

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """See ``Device``."""
        with torch.random.fork_rng([]):
            torch.default_generator.manual_seed(seed)
            yield


def physical_cores() -> int:
    """Cores that this process may use, without the second thread that some of them have."""
    cores = usable_cores()
    return min(cores, psutil.cpu_count(logical=False) or cores)


def memory_nodes() -> int:
    """How many parts the memory has, each nearest to some of the cores (NUMA)."""
    with suppress(OSError):
        names = (path.name for path in NODES.iterdir())
        return sum(name.startswith("node") and name[4:].isdigit() for name in names)
    return 1


def huge_pages() -> str:
    """For what Linux makes huge pages: always, madvise (for programs that ask) or never; unknown elsewhere."""
    with suppress(OSError):
        return HUGE_PAGES.read_text().partition("[")[2].partition("]")[0]  # as "always [madvise] never"
    return "unknown"


def _status(name: str) -> int:
    """A value of this process in bytes (Linux); 0 elsewhere."""
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0
