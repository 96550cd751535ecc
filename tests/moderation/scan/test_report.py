from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from safelight.errors import FileMissingError, OutputError, UsageError
from safelight.moderation import ClassifierInfo, Decision, Judgement, PolicyRef, Verdict
from safelight.moderation.scan.journal import Journal
from safelight.moderation.scan.report import write_report, writer_for

LABELS = ("sfw", "nsfw")
FIELDS = [
    "path",
    "decision",
    "unsafe",
    "score_sfw",
    "score_nsfw",
    "frame",
    "tile",
    "classifier",
    "classifier_digest",
    "arithmetic",
    "policy",
    "policy_version",
    "policy_digest",
    "notes",
    "error_code",
    "error_message",
    "embedding",
]
NAMES = ["a.jpg", "new\nline, comma.jpg", "\"quoted\" and 'so'.jpg", "日本.jpg", "=1+1.jpg"]


def make_judgement(name: str, unsafe: float) -> Judgement:
    verdict = Verdict(
        decision=Decision.REVIEW,
        scores={"sfw": 1 - unsafe, "nsfw": unsafe},
        unsafe=unsafe,
        embedding=np.array([unsafe, -0.1], np.float32),
        classifier=ClassifierInfo("open-nsfw", "d" * 64, LABELS, 2, "exact, onnxruntime fp32"),
        policy=PolicyRef("standard", "1", "p" * 64),
        frame=2,
        tile=None,
        notes=("one", "two, three"),
    )
    return Judgement(name, verdict=verdict)


@pytest.fixture(params=[True, False], ids=["embeddings", "plain"])
def rows(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    judged = [make_judgement(name, 0.1 * number + 1e-17) for number, name in enumerate(NAMES)]
    judged.append(Judgement("broken.jpg", error=FileMissingError("No, it is\nnot there.")))
    return [one.to_dict(embedding=request.param) for one in judged]


def write_journal(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "report.partial"
    with Journal(path, {"header": "that is no row"}, resume=False) as journal:
        journal.append(rows)
    return path


def read_report(folder: Path, rows: list[dict[str, Any]], extension: str) -> Path:
    journal, report = write_journal(folder, rows), folder / f"report{extension}"
    write_report(journal, report, LABELS)
    assert not journal.exists()
    assert [path.name for path in folder.iterdir()] == [report.name]
    return report


def flatten_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row as CSV and Parquet hold it, written out by hand."""
    classifier, policy, error = row["classifier"] or {}, row["policy"] or {}, row["error"] or {}
    values = [
        row["path"],
        row["decision"],
        row["unsafe"],
        row["scores"].get("sfw"),
        row["scores"].get("nsfw"),
        row["frame"],
        row["tile"],
        classifier.get("name"),
        classifier.get("digest"),
        classifier.get("arithmetic"),
        policy.get("name"),
        policy.get("version"),
        policy.get("digest"),
        "; ".join(row["notes"]),
        error.get("code"),
        error.get("message"),
        row.get("embedding"),
    ]
    return dict(zip(FIELDS, values, strict=True))


def test_jsonl_has_the_rows(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    lines = read_report(tmp_path, rows, ".jsonl").read_bytes().splitlines()
    assert [json.loads(line) for line in lines] == rows


def test_csv_has_a_column_for_each_label(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    with read_report(tmp_path, rows, ".csv").open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        found = list(reader)
    assert reader.fieldnames == FIELDS
    for line, row in zip(found, rows, strict=True):
        for name, value in flatten_row(row).items():
            if name == "embedding":
                assert line[name] == (json.dumps(value) if "embedding" in row else "")
            elif isinstance(value, float):
                assert float(line[name]) == value, "to the last digit"
            else:
                assert line[name] == ("" if value is None else str(value))


def test_parquet_has_typed_columns(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    table = pq.read_table(read_report(tmp_path, rows, ".parquet"))
    assert table.column_names == FIELDS
    types = {name: str(table.schema.field(name).type) for name in FIELDS}
    assert types["unsafe"] == types["score_sfw"] == "double"
    assert types["frame"] == "int32"
    assert types["embedding"].startswith("list<")
    assert types["embedding"].endswith("float>")
    assert types["path"] == types["notes"] == "string"
    assert table.to_pylist() == [flatten_row(row) for row in rows]


@pytest.mark.parametrize("extension", [".jsonl", ".csv", ".parquet"])
def test_an_empty_report(tmp_path: Path, extension: str) -> None:
    report = read_report(tmp_path, [], extension)
    if extension == ".parquet":
        assert pq.read_table(report).num_rows == 0
        assert pq.read_table(report).column_names == FIELDS
    else:
        assert report.read_bytes().decode() == ("" if extension == ".jsonl" else ",".join(FIELDS) + "\r\n")


@pytest.mark.parametrize("extension", [".jsonl", ".csv", ".parquet"])
def test_a_report_longer_than_a_chunk_keeps_its_order(tmp_path: Path, extension: str) -> None:
    row = make_judgement("x", 0.5).to_dict()
    report = read_report(tmp_path, [row | {"path": str(number)} for number in range(5000)], extension)
    if extension == ".jsonl":
        paths = [json.loads(line)["path"] for line in report.read_text().splitlines()]
    elif extension == ".csv":
        with report.open(newline="") as file:
            paths = [line["path"] for line in csv.DictReader(file)]
    else:
        paths = pq.read_table(report)["path"].to_pylist()
    assert paths == [str(number) for number in range(5000)]


@pytest.mark.parametrize("name", ["r.txt", "r", "r.jsonl.gz", ".csv"])
def test_an_unknown_extension(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        writer_for(Path(name))
    said = repr(Path(name).suffix or "nothing")
    assert caught.value.message in {
        f"A report's name ends in .jsonl, .csv, .parquet, not {text}." for text in (said, said.strip("'"))
    }


def test_extensions_are_case_insensitive() -> None:
    assert writer_for(Path("R.CSV")) is writer_for(Path("r.csv"))


@pytest.mark.parametrize("extension", [".jsonl", ".csv", ".parquet"])
def test_a_failed_report_keeps_the_journal(tmp_path: Path, extension: str) -> None:
    journal = write_journal(tmp_path, [make_judgement("x", 0.5).to_dict()])
    (tmp_path / f"taken{extension}").mkdir()
    with pytest.raises(OutputError, match=r"cannot be written: "):
        write_report(journal, tmp_path / f"taken{extension}", LABELS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.partial", f"taken{extension}"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
@pytest.mark.parametrize("extension", [".jsonl", ".csv", ".parquet"])
def test_a_full_disk_keeps_the_journal(
    tmp_path: Path, extension: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = write_journal(tmp_path, [make_judgement("x", 0.5).to_dict()])
    monkeypatch.setattr("safelight.atomic_write.temporary_path", lambda path: path.with_name(".tmp"))
    (tmp_path / ".tmp").symlink_to("/dev/full")
    with pytest.raises(OutputError, match="No space left on device"):
        write_report(journal, tmp_path / f"r{extension}", LABELS)
    assert [p.name for p in tmp_path.iterdir()] == ["report.partial"]


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")
@pytest.mark.parametrize("extension", [".csv", ".parquet"])
def test_names_and_messages_of_any_bytes(tmp_path: Path, extension: str) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    rows = [make_judgement(name, 0.5).to_dict()]
    rows.append(Judgement(name, error=FileMissingError(f"{name} is gone.")).to_dict())
    read_report(tmp_path, rows, extension)


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")
def test_every_line_is_json_whatever_the_names(tmp_path: Path) -> None:
    report = read_report(tmp_path, [make_judgement(os.fsdecode(b"caf\xe9.jpg"), 0.5).to_dict()], ".jsonl")
    (line,) = report.read_bytes().splitlines()
    assert json.loads(line)["decision"] == "review"
