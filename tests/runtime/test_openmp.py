from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from safelight.runtime.openmp import thread_team_releaser

COUNTED = """
import threading
import psutil, torch
from safelight.runtime.openmp import thread_team_releaser

def compute():
    return torch.nn.functional.silu(torch.ones(1 << 20))  # sums no rounding could tell apart

torch.set_num_threads(3)
let_go = thread_team_releaser()
before = psutil.Process().num_threads()
first = compute()
team = psutil.Process().num_threads()
let_go()
after = psutil.Process().num_threads()
let_go()  # twice does no harm
again = compute()
print(before, team, after, bool((first == again).all()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP, as torch brings it on Linux")
def test_a_threads_team_ends_and_it_computes_as_before() -> None:
    ran = subprocess.run([sys.executable, "-c", COUNTED], capture_output=True, text=True, check=True)
    before, team, after, same = ran.stdout.split()
    assert int(team) == int(before) + 2
    assert int(after) == int(before)
    assert same == "True"


def test_with_another_threading_library_nothing_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another package's OpenMP is not even opened."""
    monkeypatch.setattr("safelight.runtime.openmp.ctypes.CDLL", pytest.fail)
    assert thread_team_releaser(tmp_path / "missing")() is None
    maps = tmp_path / "maps"
    maps.write_text("7f00 r-xp 00:00 1 /usr/lib/sentencepiece.libs/libgomp-6a29c32d.so.1.0.0\n")
    assert thread_team_releaser(maps)() is None
