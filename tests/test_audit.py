from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from safelight.audit import AuditLog
from safelight.logs import bound


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_says_what_and_whose(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "home")
    with bound(request_id="r-1", owner="anna", address="::1", secret="not taken over"):
        log.note("job.submitted", job_id="1", text="two\nlines ü")
    log.note("key.made", key="anna")
    first, second = lines_of(log.path)
    assert str(first.pop("time")).endswith("+00:00")
    assert first == {
        "event": "job.submitted",
        "request_id": "r-1",
        "owner": "anna",
        "address": "::1",
        "job_id": "1",
        "text": "two\nlines ü",
    }
    assert (second["event"], "owner" in second) == ("key.made", False)


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.note("denied")
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


def test_it_is_bounded(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, max_bytes=1000, kept=2)
    for number in range(100):
        log.note("denied", number=number)
    assert sorted(path.name for path in tmp_path.glob("audit.log*")) == [
        "audit.log",
        "audit.log.1",
        "audit.log.2",
    ]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.glob("audit.log*"))
    kept = [line["number"] for name in (".2", ".1", "") for line in lines_of(tmp_path / f"audit.log{name}")]
    assert kept == list(range(100 - len(kept), 100))


def test_several_processes_write_it(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from safelight.audit import AuditLog\n"
        "log = AuditLog(Path(sys.argv[1]), max_bytes=4000, kept=200)\n"
        "for number in range(100): log.note('denied', writer=sys.argv[2], number=number)"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), name]) for name in ("a", "b", "c")
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    found = {
        (line["writer"], line["number"]) for path in tmp_path.glob("audit.log*") for line in lines_of(path)
    }
    assert len(found) == 300


def test_what_cannot_be_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "home").write_text("a file")
    AuditLog(tmp_path / "home").note("denied")
    assert "the audit log cannot be written" in capsys.readouterr().out
