from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="seccomp and limits are Linux's")

SCRIPT = """
import os, socket, subprocess, sys, threading
from safelight.models.pickles.isolation import forbid_network_and_programs, limit_resources

asked = threading.Event()
failed = []

def in_a_thread():
    asked.wait()
    try:
        socket.socket()
    except OSError as error:
        failed.append(error.errno)

thread = threading.Thread(target=in_a_thread)
thread.start()
assert limit_resources(64 * 2**20, 1000, 60)
assert forbid_network_and_programs()
asked.set()
thread.join()
for attempt in (
    socket.socket,
    lambda: socket.socket(socket.AF_UNIX),
    lambda: subprocess.run(["true"]),
    lambda: os.execv("/bin/true", ["true"]),
):
    try:
        attempt()
    except OSError as error:
        failed.append(error.errno)
print(failed)
try:
    bytearray(200 * 2**20)
except MemoryError:
    print("memory")
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    with open(sys.argv[1], "wb") as file:
        file.write(bytes(2000))
except OSError as error:
    print("file", error.errno)
print(open(sys.argv[0] or os.devnull).read(0) == "")
"""


def test_sockets_programs_memory_and_large_files_are_refused(tmp_path: Path) -> None:
    """In the thread that asked for it, and in those that were there before."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    ended = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["[1, 1, 1, 1, 1]", "memory", "file 27", "True"]
