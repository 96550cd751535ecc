from __future__ import annotations

import subprocess
import sys

import pytest

from safelight.runtime.allocator import trim

PROGRAM = """
import psutil
from safelight.runtime.allocator import trim
blocks = [bytearray(100_000) for _ in range(2000)]
keep = blocks[::200]
full = psutil.Process().memory_info().rss
del blocks
freed = psutil.Process().memory_info().rss
trim()
print(full - freed, freed - psutil.Process().memory_info().rss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_freed_memory_is_returned_to_the_system() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    by_itself, trimmed = map(int, ran.stdout.split())
    assert by_itself + trimmed > 150_000_000
    assert trimmed > 50_000_000


def test_other_platforms_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert not trim()
