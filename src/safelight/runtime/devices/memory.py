"""What memory a device has, and how much of it is free now."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from safelight.errors import SettingsError

if sys.platform != "win32":
    import resource

HOST_SHARE = 0.8
"""The share of a machine's memory that networks and a picture may take."""
ACCELERATOR_SHARE = 0.9
"""The same of an accelerator's memory; the rest is for its context and the allocator's fragments."""
LIMIT_MARGIN = 0.05
"""The share of a limit that is left free: who exceeds it is ended by the kernel, and not all memory is planned."""
CONTROL_GROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Where Linux has the limits of control groups, and the names of those that this process is in."""
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


@dataclass(frozen=True)
class DeviceMemory:
    """A device to plan for; it need not be in this machine.

    Args:
        kind: cpu, cuda, mps …, as torch calls it.
        total: Its memory in bytes.
        usable: Bytes of it that networks and a picture may take now.
        host: Bytes of the host's memory that offloaded networks may take; on a CPU there is no other memory, and it is
            ``usable``.
    """

    kind: str
    total: int
    usable: int
    host: int

    @property
    def is_cpu(self) -> bool:
        """Whether it is the host itself."""
        return self.kind == "cpu"


def assumed_device(kind: str, total: int, host: int | None = None) -> DeviceMemory:
    """A device of some kind and size, with nothing else running on it.

    Args:
        kind: cpu, cuda, mps …
        total: Its memory in bytes.
        host: The host's memory in bytes; by default this machine's.
    """
    if kind == "cpu":
        usable = int(HOST_SHARE * total)
        return DeviceMemory(kind, total, usable, usable)
    host_total = host_memory().total if host is None else host
    return DeviceMemory(kind, total, int(ACCELERATOR_SHARE * total), int(HOST_SHARE * host_total))


@dataclass(frozen=True)
class MemoryInfo:
    """The memory of a device, or of the host, that this process may use.

    Args:
        total: Bytes: all there are, or those of the limit that this process runs under.
        free: Bytes that this process can still take now.
    """

    total: int
    free: int

    def usable(self, own: int = 0) -> int:
        """Bytes of the host's memory that networks and a picture may take.

        Args:
            own: Bytes that networks in this process take already, which may be evicted.
        """
        return int(min(HOST_SHARE * self.total, self.free + own))


def host_memory() -> MemoryInfo:
    """The memory of this machine, and the limits of this process: of its control group, its addresses, its data."""
    machine = psutil.virtual_memory()
    total, free = machine.total, machine.available
    groups = [(limit, int((1 - LIMIT_MARGIN) * limit) - used) for limit, used in _control_group_limits()]
    others = [(limit, limit - used) for limit, used in _resource_limits()]  # beyond them, an allocation fails
    for limit, left in (*groups, *others):
        total, free = min(total, limit), min(free, max(0, left))
    return MemoryInfo(total, free)


def parse_bytes(text: str) -> int:
    """The bytes of a size such as 8GB, 6.5 G or 500MB; units are decimal, and GiB is binary.

    Raises:
        SettingsError: It is no size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", text.lower())
    if match is None or not 0 < float(match[1]) < 1e12:
        raise SettingsError(f"{text!r} is no size in bytes.", hint="Give one such as 8GB or 500MB.")
    factor = 1024 ** list(_UNITS).index(match[2]) if match[3] else _UNITS[match[2]]
    return int(float(match[1]) * factor)


def _control_group_limits() -> list[tuple[int, int]]:
    """Limit and use of the control groups of this process and of those above, in bytes (Linux, both versions)."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            names, root = ("memory.max", "memory.current"), CONTROL_GROUPS
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
            root = CONTROL_GROUPS / "memory"
        else:
            continue
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):  # in a container its own group is the root
            if not folder.is_relative_to(root):
                break
            try:
                limit, used = ((folder / name).read_text().strip() for name in names)
            except OSError:
                continue
            if limit.isdigit():
                found.append((int(limit), max(0, int(used) - _page_cache(folder))))
    return found


def _page_cache(folder: Path) -> int:
    """Bytes of cached files in a control group that no process has mapped: the kernel frees them when it needs to."""
    try:
        lines = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return 0
    if "total_inactive_file" in lines:  # version 1
        cached, mapped = ("total_inactive_file", "total_active_file"), "total_mapped_file"
    else:
        cached, mapped = ("inactive_file", "active_file"), "file_mapped"
    return max(0, sum(int(lines.get(name, 0)) for name in cached) - int(lines.get(mapped, 0)))


def _resource_limits() -> list[tuple[int, int]]:
    """Limit and use of this process's addresses and data, in bytes."""
    if sys.platform != "linux":
        return []
    pages = [int(number) for number in Path("/proc/self/statm").read_text().split()]
    size, data = pages[0], pages[5]
    page = os.sysconf("SC_PAGE_SIZE")
    uses = ((resource.RLIMIT_AS, size), (resource.RLIMIT_DATA, data))
    limits = [(resource.getrlimit(kind)[0], used * page) for kind, used in uses]
    return [(limit, used) for limit, used in limits if limit != resource.RLIM_INFINITY]
