"""What memory a process may use: of the machine, of its control group, of its resource limits."""

from __future__ import annotations

import subprocess
import sys

import pytest

from safelight.errors import SettingsError
from safelight.runtime.memory_plan.device import assumed_device, host_memory, parse_bytes


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
    device = assumed_device("cuda", 8 * 10**9, 16 * 10**9)
    assert (device.usable, device.host, device.is_cpu) == (7_200_000_000, 12_800_000_000, False)
    assert assumed_device("cpu", 10**10).host == assumed_device("cpu", 10**10).usable == 8 * 10**9


def test_the_hosts_memory_is_positive() -> None:
    memory = host_memory()
    assert 0 < memory.free <= memory.total


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_a_limit_of_the_process_counts() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30));"
        "from safelight.runtime.memory_plan.device import host_memory; m = host_memory();"
        "assert m.total == 2**30 and 0 < m.free < 2**30, m"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
