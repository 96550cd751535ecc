from __future__ import annotations

import csv
import json
import shutil
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


def test_report_and_summary(safelight, uploads, tmp_path):
    ran = safelight("scan", uploads, "--out", "report.jsonl", "--json")
    rows = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert len(rows) == 6
    assert ran.body["total"] == 6
    assert ran.body["decisions"] == {"allow": 5, "review": 0, "block": 0, "error": 1}
    assert ran.body["errors"] == {"image.truncated": 1}
    assert sum(ran.body["histogram"]) == 5
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


def test_a_finished_report_is_not_replaced_by_accident(safelight, uploads):
    assert safelight("scan", uploads / "deep", "--out", "r.jsonl").status == 0
    again = safelight("scan", uploads / "deep", "--out", "r.jsonl", "--json")
    assert again.status == 2
    assert again.body["error"]["code"] == "output.exists"
    assert safelight("scan", uploads / "deep", "--out", "r.jsonl", "--overwrite").status == 0


def test_summary_for_people(safelight, uploads):
    ran = safelight("scan", uploads, "--out", "r.jsonl")
    assert "6 pictures" in ran.out
    assert "image.truncated" in ran.out
    assert "0.0-0.1" in ran.out


def test_flagged_exits_with_one(safelight, uploads, nothing_goes):
    ran = safelight("scan", uploads, "--out", "r.jsonl", "-p", nothing_goes, "--json")
    assert ran.status == 1
    assert ran.body["decisions"]["block"] == 5


def test_globs(safelight, uploads):
    ran = safelight("scan", f"{uploads}/**/c*.jpg", "--out", "r.jsonl", "--json")
    assert ran.body["total"] == 2


def test_nothing_there(safelight):
    ran = safelight("scan", "nowhere", "--out", "r.jsonl", "--json")
    assert ran.status == 2
    assert ran.body["error"]["code"] == "file.missing"
