from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from safelight import audit_log
from safelight.audit_log import AuditLog, open_audit_log
from safelight.logs import log_context


def read_lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_names_the_action_and_the_owner(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "home")
    with log_context(request_id="r-1", owner="anna", address="::1", secret="not taken over"):
        log.write("job.submitted", job_id="1", text="two\nlines ü")
    log.write("key.made", key="anna")
    first, second = read_lines(log.path)
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
    log.write("denied")
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


def test_its_size_is_bounded(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, max_bytes=1000, kept=2)
    for number in range(100):
        log.write("denied", number=number)
    assert sorted(path.name for path in tmp_path.glob("audit.log*")) == [
        "audit.log",
        "audit.log.1",
        "audit.log.2",
    ]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.glob("audit.log*"))
    kept = [line["number"] for name in (".2", ".1", "") for line in read_lines(tmp_path / f"audit.log{name}")]
    assert kept == list(range(100 - len(kept), 100))


def test_several_processes_write_to_it(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from safelight.audit_log import AuditLog\n"
        "log = AuditLog(Path(sys.argv[1]), max_bytes=4000, kept=200)\n"
        "for number in range(100): log.write('denied', writer=sys.argv[2], number=number)"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), name]) for name in ("a", "b", "c")
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    found = {
        (line["writer"], line["number"]) for path in tmp_path.glob("audit.log*") for line in read_lines(path)
    }
    assert len(found) == 300


def test_a_failed_write_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "home").write_text("a file")
    AuditLog(tmp_path / "home").write("denied")
    assert [record.getMessage() for record in caplog.records] == ["the audit log cannot be written"]


def test_rare_actions_are_kept_in_a_file_of_their_own(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, max_bytes=2000, kept=1)
    log.write("key.made", key="anna")
    for number in range(100):
        log.write("job.submitted", owner="anna", number=number)
    log.write("session.opened", owner="anna")
    assert [line["event"] for line in read_lines(tmp_path / "security.log")] == ["key.made", "session.opened"]
    assert "key.made" not in log.path.read_text()
    assert '"session.opened"' in log.path.read_text()


def test_one_owner_does_not_displace_the_lines_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(audit_log.LINE_LIMITS, "audit.log", audit_log.LineLimit(5, 60.0))
    clock = [1000.0]
    monkeypatch.setattr(audit_log.time, "monotonic", lambda: clock[0])
    log = AuditLog(tmp_path)
    for number in range(100):
        log.write("job.submitted", owner="anna", number=number)
        log.write("denied", address="10.0.0.1", number=number)
    log.write("job.submitted", owner="bert", number=0)
    clock[0] += 1.0
    log.write("job.submitted", owner="anna", number=100)
    lines = read_lines(log.path)
    anna = [line.get("number", line["event"]) for line in lines if line.get("owner") == "anna"]
    assert anna == [0, 1, 2, 3, 4, "left.out", 100]
    assert next(line["lines"] for line in lines if line["event"] == "left.out") == 95
    assert [line["number"] for line in lines if line.get("owner") == "bert"] == [0]
    assert len([line for line in lines if line.get("address") == "10.0.0.1"]) == 5


def test_repeated_sign_ins_leave_room_for_other_lines(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    for _ in range(100):
        log.write("session.opened", owner="anna")
    assert len(read_lines(tmp_path / "security.log")) == 60
    assert len(read_lines(log.path)) == 100


def test_lines_that_could_not_be_written_are_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after half a line was written to a full disk."""
    log, write = AuditLog(tmp_path), audit_log.os.write
    log.write("key.made", key="anna")
    monkeypatch.setattr(audit_log.os, "write", lambda file, data: write(file, data[:10]))
    log.write("key.made", key="bert")
    assert [line["key"] for line in read_lines(log.path)] == ["anna"]
    monkeypatch.setattr(audit_log.os, "write", write)
    log.write("job.submitted")
    assert [line.get("key") for line in read_lines(log.path)] == ["anna", "bert", None]
    assert [line["key"] for line in read_lines(tmp_path / "security.log")] == ["anna", "bert"]


def test_its_size_is_a_setting(tmp_path: Path) -> None:
    log = open_audit_log(tmp_path, 12_000)
    for number in range(500):
        log.write("denied", owner=f"owner {number}", number=number)
    sizes = [path.stat().st_size for path in tmp_path.glob("audit.log*")]
    assert len(sizes) == 6
    assert 8_000 < sum(sizes) <= 12_000
