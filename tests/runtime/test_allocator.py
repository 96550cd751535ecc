from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from safelight.runtime.allocator import (
    collection_paused,
    keep_freed_memory,
    large_blocks_apart,
    trim,
    trim_excess,
)

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


LARGE_BLOCKS = """
import psutil
from contextlib import nullcontext
from safelight.runtime.allocator import large_blocks_apart, trim
rss = psutil.Process().memory_info
for context in (nullcontext, large_blocks_apart):
    bytearray(30_000_000)  # freed: from now on glibc maps only larger ones by themselves
    with context():
        blocks = [bytearray(b"1") * 3_000_000 for _ in range(60)]
    full = rss().rss
    del blocks[::2]
    print(full - rss().rss)
    del blocks
    trim()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_large_blocks_leave_no_holes() -> None:
    """Each second of many blocks is freed; the memory of those that were mapped by themselves is back at once."""
    ran = subprocess.run([sys.executable, "-c", LARGE_BLOCKS], capture_output=True, text=True, check=True)
    usual, apart = map(int, ran.stdout.split())
    assert usual < 30_000_000 < 60_000_000 < apart


KEPT_BLOCKS = """
import resource, sys, threading
import psutil
from safelight.runtime.allocator import keep_freed_memory, trim_excess
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def compute():
    for _ in range(2):
        before = faults()
        blocks = [bytearray(b"1") * 40_000_000 for _ in range(10)]
        del blocks
        again.append(faults() - before)
if sys.argv[1] == "kept":
    keep_freed_memory()
again = []
thread = threading.Thread(target=compute)
thread.start()
thread.join()
full = psutil.Process().memory_info().rss
print(again[1], trim_excess(), full - psutil.Process().memory_info().rss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_freed_large_blocks_are_used_again_until_they_are_trimmed() -> None:
    """400 MB in ten blocks, allocated and freed by a thread that is not the main one, for the second time."""
    faults = {}
    for memory in ("usual", "kept"):
        command = [sys.executable, "-c", KEPT_BLOCKS, memory]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        faults[memory], trimmed, returned = ran.stdout.split()
    assert int(faults["usual"]) > 50_000 > 1_000 > int(faults["kept"])
    assert trimmed == "True"
    assert int(returned) > 350_000_000


def test_other_platforms_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert not trim()
    assert not trim_excess()
    keep_freed_memory()
    with large_blocks_apart():
        pass


def test_nothing_is_collected_during_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "get_freeze_count", lambda: 0)  # the test process itself has frozen its imports
    with collection_paused():
        assert not gc.isenabled()
        with collection_paused():
            pass
        assert not gc.isenabled()
        made: list[object] = [[]]
    assert gc.isenabled()
    assert any(found is made for found in gc.get_objects(generation=2))
    gc.freeze()


def test_frozen_objects_stay_frozen() -> None:
    gc.freeze()  # as the test process itself does: nothing is unfrozen afterwards
    frozen = gc.get_freeze_count()
    with collection_paused():
        pass
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0.99 * frozen > 0  # other threads may free some of them meanwhile
