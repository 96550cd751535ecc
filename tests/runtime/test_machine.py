from __future__ import annotations

import os
import sys
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from safelight.runtime import machine
from safelight.runtime.machine import inspect_machine, package_version, usable_cores

CPUINFO = """\
processor\t: 0
model name\t: Intel(R) Xeon(R) Platinum 8481C
flags\t\t: fpu avx2 avx512f amx_bf16 nonsense

processor\t: 1
model name\t: Intel(R) Xeon(R) Platinum 8481C
flags\t\t: fpu avx2 avx512f amx_bf16 nonsense
"""


def test_values_are_this_machines() -> None:
    facts = inspect_machine()
    assert facts.memory == psutil.virtual_memory().total
    assert facts.cores == usable_cores() >= 1
    assert facts.system.startswith({"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}[sys.platform])
    assert facts.processor
    assert set(facts.to_dict()) == {"system", "processor", "cores", "memory", "vector_units"}


def test_cpuinfo_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(CPUINFO)
    name, flags = machine._read_cpuinfo(path)
    assert name == "Intel(R) Xeon(R) Platinum 8481C"
    assert flags == {"fpu", "avx2", "avx512f", "amx_bf16", "nonsense"}


def test_without_cpuinfo(tmp_path: Path) -> None:
    assert machine._read_cpuinfo(tmp_path / "missing") == ("", frozenset())
    (tmp_path / "arm").write_text("processor: 0\n\nBogoMIPS : 50.0\n")
    assert machine._read_cpuinfo(tmp_path / "arm") == ("", frozenset())


def test_only_known_vector_units_are_named_in_a_fixed_order(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = frozenset({"amx_bf16", "fpu", "avx2"})
    monkeypatch.setattr(machine, "_read_cpuinfo", lambda _: ("A processor", flags))
    facts = inspect_machine()
    assert (facts.processor, facts.vector_units) == ("A processor", ("avx2", "amx_bf16"))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_only_usable_cores_count() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert usable_cores() == len(allowed)


def test_package_version() -> None:
    assert package_version("onnxruntime") == version("onnxruntime")
    assert package_version("no-such-package-anywhere") is None
