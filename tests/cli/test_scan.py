from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from safelight.samples import sample_photographs


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    folder = tmp_path / "uploads" / "deep"
    folder.mkdir(parents=True)
    for path in sample_photographs():
        shutil.copy(path, folder)
    (tmp_path / "uploads" / "torn.jpg").write_bytes(sample_photographs()[0].read_bytes()[:5000])
    (tmp_path / "uploads" / "notes.txt").write_text("not a picture, and not taken for one")
    return tmp_path / "uploads"


def test_report_and_summary(process, uploads, tmp_path):
    ran = process("scan", uploads, "--out", "report.jsonl", "--json")
    rows = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert len(rows) == 6
    assert ran.json_body["total"] == 6
    assert ran.json_body["decisions"] == {"allow": 5, "review": 0, "block": 0, "error": 1}
    assert ran.json_body["errors"] == {"image.truncated": 1}
    assert sum(ran.json_body["histogram"]) == 5
    assert ran.status == 2
    assert not (tmp_path / "report.jsonl.partial").exists()


def test_the_three_formats_agree(safelight, uploads, tmp_path):
    for name in ("r.jsonl", "r.csv", "r.parquet"):
        safelight("scan", uploads, "--out", name)
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    with (tmp_path / "r.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    parquet = pq.read_table(tmp_path / "r.parquet").to_pylist()
    assert [r["path"] for r in lines] == [r["path"] for r in table] == [r["path"] for r in parquet]
    for line, cells, row in zip(lines, table, parquet, strict=True):
        assert line["decision"] == cells["decision"] == row["decision"]
        if line["error"] is None:
            assert line["scores"]["nsfw"] == float(cells["score_nsfw"]) == row["score_nsfw"]
        else:
            assert line["error"]["code"] == cells["error_code"] == row["error_code"]


def test_a_finished_report_is_not_overwritten_by_accident(safelight, uploads):
    assert safelight("scan", uploads / "deep", "--out", "r.jsonl").status == 0
    again = safelight("scan", uploads / "deep", "--out", "r.jsonl", "--json")
    assert again.status == 2
    assert again.json_body["error"]["code"] == "output.exists"
    assert safelight("scan", uploads / "deep", "--out", "r.jsonl", "--overwrite").status == 0


def test_summary_as_text(safelight, uploads):
    ran = safelight("scan", uploads, "--out", "r.jsonl")
    assert "6 pictures" in ran.out
    assert "image.truncated" in ran.out
    assert "0.0-0.1" in ran.out


def test_flagged_exits_with_one(safelight, uploads, nothing_goes):
    ran = safelight("scan", uploads, "--out", "r.jsonl", "-p", nothing_goes, "--json")
    assert ran.status == 1
    assert ran.json_body["decisions"]["block"] == 5


def test_globs(safelight, uploads):
    ran = safelight("scan", f"{uploads}/**/c*.jpg", "--out", "r.jsonl", "--json")
    assert ran.json_body["total"] == 2


def test_a_missing_folder(safelight):
    ran = safelight("scan", "nowhere", "--out", "r.jsonl", "--json")
    assert ran.status == 2
    assert ran.json_body["error"]["code"] == "file.missing"


def test_broken_links_get_their_line(safelight, uploads, tmp_path):
    (uploads / "loop.jpg").symlink_to(uploads / "loop.jpg")
    (uploads / "gone.jpg").symlink_to(uploads / "nothing.jpg")
    (uploads / "loop").symlink_to(uploads / "loop")
    ran = safelight("scan", uploads, "--out", "r.jsonl", "--json")
    assert ran.json_body["errors"] == {"file.missing": 2, "image.truncated": 1}
    assert ran.json_body["decisions"]["allow"] == 5
    assert "Traceback" not in ran.err


def test_other_files_are_counted_and_possible_images_are_errors(safelight, uploads, tmp_path):
    shutil.copy(sample_photographs()[0], uploads / "thumbs.db")
    (uploads / "film").write_bytes(b"\x1aE\xdf\xa3")
    (uploads / "torn.jpg").unlink()
    ran = safelight("scan", uploads, "--out", "r.jsonl", "--json", "--list-skipped")
    assert ran.status == 2, "nothing flagged, but something could not be judged"
    assert ran.json_body["decisions"] == {"allow": 6, "review": 0, "block": 0, "error": 1}
    assert ran.json_body["errors"] == {"image.format": 1}
    assert ran.json_body["skipped"] == {"not_a_picture": 1}
    assert f"skipped {uploads / 'notes.txt'}: not a picture\n" in ran.err
    assert "Not judged: not a picture (1).\n" in ran.err
    ran = safelight("scan", uploads, "--out", "known.jsonl", "--json", "--only-known")
    assert ran.status == 0
    assert ran.json_body["total"] == 5
    assert ran.json_body["skipped"] == {"other_name": 3}
    assert "Not judged: other name (3) (--list-skipped names them).\n" in ran.err


def test_an_empty_folder_is_reported(safelight, tmp_path):
    (tmp_path / "empty").mkdir()
    ran = safelight("scan", "empty", "--out", "r.jsonl")
    assert ran.status == 0
    assert "No pictures found" in ran.err


@pytest.mark.usefixtures("interruptible")
def test_one_scan_at_a_time_and_ctrl_c_and_resume(environment, many, tmp_path, safelight):
    again = ("scan", many, "--out", "r.jsonl", "--resume", "--json")
    with start_scan(environment, many, tmp_path) as process:
        wait_for_lines(tmp_path / "r.jsonl.partial", 3)
        process.send_signal(signal.SIGSTOP)  # so that it has not ended before the second one begins
        second = safelight(*again)
        assert second.status == 2
        assert second.json_body["error"]["code"] == "scan.busy"
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        assert process.wait(60) == 130
        assert process.stderr is not None
        assert "--resume" in process.stderr.read().decode()
    written = (tmp_path / "r.jsonl.partial").read_bytes()
    changed = safelight(*again, SAFELIGHT_MAX_PIXELS="1000")
    assert changed.status == 2
    assert "It differs in limits" in changed.err
    assert (tmp_path / "r.jsonl.partial").read_bytes() == written
    resumed = safelight(*again)
    assert resumed.status == 0
    assert resumed.json_body["resumed"] == written.count(b"\n") - 1 >= 3
    paths = [json.loads(line)["path"] for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert sorted(paths) == sorted(map(str, many.iterdir()))


COMMAND = [sys.executable, "-m", "safelight", "scan"]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(80):
        shutil.copy(sample_photographs()[number % 5], folder / f"{number:03}.jpg")
    return folder


def start_scan(
    environment: dict[str, str], folder: Path, working: Path, *more: str
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, str(folder), "--out", "r.jsonl", *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=working,
        env=environment,
    )


def wait_for_lines(path: Path, number: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if path.exists() and path.read_bytes().count(b"\n") > number:
            return
        time.sleep(0.01)
    pytest.fail("nothing was judged")


def test_resume_and_overwrite_exclude_each_other(safelight, uploads):
    ran = safelight("scan", uploads, "--out", "r.jsonl", "--resume", "--overwrite", "--json")
    assert ran.status == 2
    assert ran.json_body["error"]["code"] == "usage"
