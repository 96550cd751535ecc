"""What memory a process may use: of the machine, of its control group, of its resource limits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from safelight.errors import SettingsError
from safelight.runtime.devices import memory
from safelight.runtime.devices.memory import MemoryInfo, assumed_device, host_memory, parse_bytes


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [("8GB", 8 * 10**9), ("6.5 g", 6_500_000_000), ("1GiB", 2**30), ("500MB", 500_000_000)],
)
def test_sizes_are_parsed(text: str, nbytes: int) -> None:
    assert parse_bytes(text) == nbytes


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "8 apples", "1e9", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        parse_bytes(text)


def test_an_assumed_accelerator_has_the_host_beside_it() -> None:
    card = assumed_device("cuda", 8 * 10**9, 16 * 10**9)
    assert (card.usable, card.host, card.is_cpu) == (7_200_000_000, 12_800_000_000, False)
    assert assumed_device("cpu", 10**10).host == assumed_device("cpu", 10**10).usable == 8 * 10**9


def test_the_hosts_memory_is_positive() -> None:
    memory = host_memory()
    assert 0 < memory.free <= memory.total


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_a_limit_of_the_process_counts() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30));"
        "from safelight.runtime.devices.memory import host_memory; m = host_memory();"
        "assert m.total == 2**30 and 0 < m.free < 2**30, m"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


GROUPS = {
    "memory.max": ("max", "memory.current", "inactive_file 100\nactive_file 50\nfile_mapped 30\n"),
    "memory.limit_in_bytes": (
        str(2**63 - 4096),
        "memory.usage_in_bytes",
        "total_inactive_file 100\ntotal_active_file 50\ntotal_mapped_file 30\n",
    ),
}


@pytest.mark.parametrize("name", GROUPS)
def test_the_tightest_of_the_groups_above_counts_without_cached_files(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = name != "memory.max"
    unlimited, use, stat = GROUPS[name]
    root = tmp_path / "cgroup" / ("memory" if first else "")
    for group, limit in (("slice/service", unlimited), ("slice", "1000"), ("", unlimited)):
        folder = root / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{limit}\n")
        (folder / use).write_text("520\n")
        (folder / "memory.stat").write_text(stat)
    (tmp_path / "self").write_text("4:memory:/slice/service\n" if first else "0::/slice/service\n")
    monkeypatch.setattr(memory, "CONTROL_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "self")
    assert host_memory() == MemoryInfo(1000, 950 - 400)
