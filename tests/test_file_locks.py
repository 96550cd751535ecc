from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from safelight.file_locks import FileLock

HOLDER = """
import sys
from pathlib import Path
from safelight.file_locks import FileLock
print(FileLock(Path(sys.argv[1])).acquire("the other one"), flush=True)
sys.stdin.read()
"""


def test_one_process_holds_the_lock_and_names_itself(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.acquire("me")
    assert not second.acquire("you")
    assert second.holder() == "me"
    first.release()
    assert second.acquire("you")
    assert first.holder() == "you"
    second.release()
    second.release()


def test_the_lock_is_released_however_its_process_ends(tmp_path: Path) -> None:
    path, mine = tmp_path / "lock", FileLock(tmp_path / "lock")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"True\n"
    assert not mine.acquire("me")
    assert mine.holder() == "the other one"
    holder.kill()
    assert mine.acquire("me", timeout=10.0)
    holder.communicate()
    mine.release()


def test_a_holder_that_left_no_name_is_called_another_process(tmp_path: Path) -> None:
    assert FileLock(tmp_path / "none").holder() == "another process"
    (tmp_path / "odd").write_bytes(b"\xff")
    assert FileLock(tmp_path / "odd").holder() == "another process"
