"""Describe this machine: processor, cores, memory, and versions of installed engines."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

_VECTOR_FLAGS = (
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_bf16",
    "amx_int8",
)
INTEGER_UNITS = frozenset({"avx_vnni", "avx512_vnni", "amx_int8"})
"""Those with 8-bit dot products that do not saturate in between."""


@dataclass(frozen=True)
class MachineInfo:
    """Properties of the machine that determine how fast a network can run.

    Args:
        system: Operating system and its release.
        processor: The processor's model name.
        cores: Cores that this process may use.
        memory: Total memory in bytes.
        vector_units: Instruction sets for vectors and matrices that the processor reports (Linux on x86 only).
    """

    system: str
    processor: str
    cores: int
    memory: int
    vector_units: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """The properties for JSON output."""
        return asdict(self)


def inspect_machine() -> MachineInfo:
    """Read the properties; takes milliseconds and imports no engine."""
    name, flags = _read_cpuinfo(Path("/proc/cpuinfo"))
    return MachineInfo(
        system=f"{platform.system()} {platform.release()}",
        processor=name or platform.processor() or platform.machine(),
        cores=usable_cores(),
        memory=psutil.virtual_memory().total,
        vector_units=tuple(flag for flag in _VECTOR_FLAGS if flag in flags),
    )


def usable_cores() -> int:
    """Cores that this process may use; in a container that can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def package_version(name: str) -> str | None:
    """Version of an installed package, without importing it; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _read_cpuinfo(path: Path) -> tuple[str, frozenset[str]]:
    try:
        lines = path.read_text().splitlines()
    except OSError:  # not Linux
        return "", frozenset()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in facts.items()}
    return fields.get("model name", ""), frozenset(fields.get("flags", "").split())
