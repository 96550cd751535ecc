from __future__ import annotations

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from safelight.errors import (
    FileMissingError,
    OutputError,
    OutputExistsError,
    ResumeMismatchError,
    UsageError,
)
from safelight.moderation import Moderator, Policy
from safelight.moderation.scan.runner import Scan, ScanSummary
from safelight.moderation.scan.sources import SkipReason

LEVELS = {f"{number:02}.png": (number + 0.5) / 20 for number in range(20)}


@pytest.fixture
def folder(tmp_path: Path, grey: Callable[..., np.ndarray]) -> Path:
    """Twenty greys from dark to bright, two for each tenth, and two unreadable files."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, level in LEVELS.items():
        Image.fromarray(grey(level)).save(folder / name)
    (folder / "empty.png").touch()
    (folder / "words.jpg").write_text("words")
    return folder


@pytest.fixture
def scan(brightness: Any, policy: Policy, folder: Path, tmp_path: Path) -> Callable[..., Scan]:
    def scan(report: str = "report.jsonl", **options: Any) -> Scan:
        options = {"target": str(folder), "workers": 2, "batch_size": 3} | options
        moderator = Moderator(brightness, options.pop("policy", policy))
        return Scan(moderator, report=tmp_path / report, **options)

    return scan


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_scan_writes_a_line_for_every_image_in_order(scan: Callable[..., Scan], folder: Path) -> None:
    job = scan()
    judged = list(job.run())
    names = [*sorted(LEVELS), "empty.png", "words.jpg"]
    assert [j.path for j in judged] == [str(folder / name) for name in names]
    rows = lines(job.report)
    assert rows == [j.to_dict() for j in judged]
    assert not job.journal_path.exists()
    for row, level in zip(rows, LEVELS.values(), strict=False):
        assert row["unsafe"] == pytest.approx(level, abs=0.003)
    assert [row["error"]["code"] for row in rows[20:]] == ["image.empty", "image.not_recognised"]


def test_the_summary_counts(scan: Callable[..., Scan]) -> None:
    seen: list[str] = []
    summary = scan().run_to_summary(lambda judgement: seen.append(judgement.path))
    assert len(seen) == summary.judged == summary.total == 22
    assert summary.decisions == {"allow": 10, "review": 8, "block": 2, "error": 2}
    assert summary.errors == {"image.empty": 1, "image.not_recognised": 1}
    assert summary.histogram == [2] * 10
    assert summary.flagged == 10
    assert summary.resumed == 0
    assert summary.seconds > 0
    assert summary.rate == pytest.approx(22 / summary.seconds)
    body = summary.to_dict()
    assert list(body["decisions"]) == ["allow", "review", "block", "error"]
    assert body["total"] == 22
    json.dumps(body)


@pytest.mark.parametrize(("unsafe", "bin_"), [(0.0, 0), (0.0999, 0), (0.1, 1), (0.55, 5), (0.9, 9), (1.0, 9)])
def test_the_histogram_has_a_bin_for_every_probability(unsafe: float, bin_: int) -> None:
    summary = ScanSummary()
    summary.count({"decision": "allow", "unsafe": unsafe, "error": None})
    assert [number for number, count in enumerate(summary.histogram) if count] == [bin_]


def test_an_empty_summary() -> None:
    assert (ScanSummary().total, ScanSummary().rate, ScanSummary().flagged) == (0, 0.0, 0)


def test_three_formats_hold_the_same(scan: Callable[..., Scan], tmp_path: Path) -> None:
    for extension in ("jsonl", "csv", "parquet"):
        list(scan(f"report.{extension}", embeddings=True).run())
    rows = lines(tmp_path / "report.jsonl")
    table = pq.read_table(tmp_path / "report.parquet").to_pylist()
    with (tmp_path / "report.csv").open(newline="") as file:
        sheet = list(csv.DictReader(file))
    assert len(rows) == len(table) == len(sheet) == 22
    for row, line, cells in zip(rows, table, sheet, strict=True):
        assert row["path"] == line["path"] == cells["path"]
        assert row["decision"] == line["decision"] == cells["decision"]
        assert row["scores"].get("nsfw") == line["score_nsfw"]
        assert row["unsafe"] == line["unsafe"]
        assert cells["unsafe"] == ("" if row["unsafe"] is None else repr(row["unsafe"]))
        assert row.get("embedding") == line["embedding"]
        assert cells["embedding"] == (json.dumps(row["embedding"]) if "embedding" in row else "")
        assert (row["error"] or {}).get("code") == line["error_code"]
        assert ((row["error"] or {}).get("code") or "") == cells["error_code"]
    assert [len(row["embedding"]) for row in rows[:20]] == [3] * 20


def test_embeddings_only_on_request(scan: Callable[..., Scan]) -> None:
    job = scan()
    list(job.run())
    assert all("embedding" not in row and row["embedding_dim"] in (3, None) for row in lines(job.report))


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX names")
@pytest.mark.parametrize("extension", ["jsonl", "csv", "parquet"])
def test_unusual_names(scan: Callable[..., Scan], folder: Path, tmp_path: Path, extension: str) -> None:
    odd = [
        "new\nline.png",
        "\"double\" 'single'.png",
        "comma, semicolon;.png",
        "日本 ü.png",
        "-rf *.png",
        "\\.png",
    ]
    for name in odd:
        (folder / name).write_bytes((folder / "10.png").read_bytes())
    job = scan(f"report.{extension}")
    list(job.run())
    if extension == "jsonl":
        found = [row["path"] for row in lines(job.report)]
    elif extension == "csv":
        with job.report.open(newline="", encoding="utf-8") as file:
            found = [row["path"] for row in csv.DictReader(file)]
    else:
        found = pq.read_table(job.report)["path"].to_pylist()
    assert {str(folder / name) for name in odd} <= set(found)
    assert len(found) == 28


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")
@pytest.mark.parametrize("extension", ["jsonl", "csv", "parquet"])
def test_names_of_any_bytes(scan: Callable[..., Scan], folder: Path, extension: str) -> None:
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes((folder / "10.png").read_bytes())
    job = scan(f"report.{extension}")
    started = job.run()
    for _ in range(21):
        next(started)
    started.close()
    summary = scan(f"report.{extension}", resume=True).run_to_summary()
    assert summary.total == 23
    if extension == "jsonl":
        names = [os.fsencode(json.loads(line)["path"]) for line in job.report.read_bytes().splitlines()]
        assert len(set(names)) == 23
        assert os.fsencode(folder) + b"/caf\xe9.png" in names


def test_an_existing_report_is_not_overwritten(scan: Callable[..., Scan]) -> None:
    job = scan()
    list(job.run())
    before = job.report.read_bytes()
    for again in (scan(), scan(resume=True)):
        with pytest.raises(OutputExistsError) as caught:
            again.check()
        assert caught.value.message == f"The report {job.report} is there and finished."
        with pytest.raises(OutputExistsError):
            next(again.run())
    assert job.report.read_bytes() == before
    list(scan(overwrite=True).run())
    assert job.report.read_bytes() == before


def test_a_report_stays_until_another_is_finished(scan: Callable[..., Scan]) -> None:
    job = scan()
    list(job.run())
    before = job.report.read_bytes()
    started = scan(overwrite=True).run()
    next(started)
    started.close()
    assert job.report.read_bytes() == before
    assert job.journal_path.exists()


def test_an_unfinished_report_is_not_overwritten(scan: Callable[..., Scan]) -> None:
    started = scan().run()
    next(started)
    started.close()
    with pytest.raises(OutputExistsError) as caught:
        scan().check()
    assert caught.value.message == f"An unfinished report is there: {scan().journal_path}."
    assert caught.value.hint == "Go on with --resume, or start over with --overwrite."
    assert scan(overwrite=True).run_to_summary().judged == 22


@pytest.mark.parametrize("stop_after", [1, 4, 11, 21])
def test_resume_judges_the_remaining_images(scan: Callable[..., Scan], folder: Path, stop_after: int) -> None:
    whole = scan("whole.jsonl")
    list(whole.run())
    job = scan()
    started = job.run()
    for _ in range(stop_after):
        next(started)
    started.close()
    assert not job.report.exists()
    done = len(lines(job.journal_path)) - 1
    assert stop_after <= done <= stop_after + 3, "no more than a batch is written ahead"
    summary = scan(resume=True).run_to_summary()
    assert (summary.judged, summary.resumed, summary.total) == (22 - done, done, 22)
    assert summary.decisions == {"allow": 10, "review": 8, "block": 2, "error": 2}
    assert summary.histogram == [2] * 10
    assert lines(job.report) == lines(whole.report)


def test_resume_without_a_journal_starts_one(scan: Callable[..., Scan]) -> None:
    summary = scan(resume=True).run_to_summary()
    assert (summary.judged, summary.resumed) == (22, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"policy": Policy.load("standard")},
        {"embeddings": True},
        {"target": "elsewhere"},
        {"only_known": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_resume_with_other_options(
    scan: Callable[..., Scan], folder: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    if "target" in change:
        change = {"target": str(folder / "*.png")}
    started = scan().run()
    next(started)
    started.close()
    before = scan().journal_path.read_bytes()
    with pytest.raises(ResumeMismatchError):
        scan(resume=True, **change).run_to_summary()
    assert scan().journal_path.read_bytes() == before


def test_skipped_files_are_counted_in_every_run(scan: Callable[..., Scan], folder: Path) -> None:
    (folder / "notes").write_text("words")
    (folder / "old.zip").write_bytes(b"PK\x03\x04")
    (folder / "new.jxl").write_bytes(b"\xff\x0a")
    started = scan().run()
    next(started)
    started.close()
    told: list[str] = []
    summary = scan(resume=True).run_to_summary(on_skip=lambda path, _reason: told.append(Path(path).name))
    assert told == ["notes", "old.zip"]
    assert summary.skipped == {SkipReason.NOT_A_PICTURE: 1, SkipReason.ARCHIVE: 1}
    assert summary.errors["image.format"] == 1
    assert json.loads(json.dumps(summary.to_dict()))["skipped"] == {"not_a_picture": 1, "archive": 1}


def test_selection_by_names_alone(scan: Callable[..., Scan], folder: Path) -> None:
    (folder / "03.png").rename(folder / "hidden")
    judged = [Path(judgement.path).name for judgement in scan().run()]
    assert "hidden" in judged
    job = scan("names.jsonl", only_known=True)
    summary = job.run_to_summary()
    assert summary.total == len(judged) - 1
    assert summary.skipped == {SkipReason.OTHER_NAME: 1}


def test_a_journal_of_a_version_without_that_option_is_resumed(scan: Callable[..., Scan]) -> None:
    started = scan().run()
    next(started)
    started.close()
    assert "only_known" not in json.loads(scan().journal_path.read_text().splitlines()[0])
    assert scan(resume=True).run_to_summary().total == 22


def test_a_missing_source(scan: Callable[..., Scan], tmp_path: Path) -> None:
    with pytest.raises(FileMissingError):
        scan(target=str(tmp_path / "nowhere")).run_to_summary()
    assert not scan().journal_path.exists()


def test_an_unknown_format(scan: Callable[..., Scan]) -> None:
    with pytest.raises(UsageError, match=r"^A report's name ends in \.jsonl, \.csv, \.parquet"):
        scan("report.txt").check()


def test_tables_are_scanned_like_folders(scan: Callable[..., Scan], folder: Path, tmp_path: Path) -> None:
    names = [*sorted(LEVELS), "empty.png", "words.jpg", "gone.png"]
    contents = [(folder / name).read_bytes() for name in names[:-1]]
    pq.write_table(pa.table({"path": names}), folder / "paths.parquet")
    pq.write_table(pa.table({"image": contents}), tmp_path / "bytes.parquet")
    by_path = scan("a.jsonl", target=str(folder / "paths.parquet"))
    by_bytes = scan("b.jsonl", target=str(tmp_path / "bytes.parquet"))
    assert by_path.run_to_summary().errors == {"image.empty": 1, "image.not_recognised": 1, "file.missing": 1}
    assert by_bytes.run_to_summary().errors == {"image.empty": 1, "image.not_recognised": 1}
    one, other = lines(by_path.report), lines(by_bytes.report)
    assert [row["path"] for row in one] == names
    assert [row["path"] for row in other] == [f"{tmp_path / 'bytes.parquet'}#{n}" for n in range(22)]
    assert [row["unsafe"] for row in one[:-1]] == [row["unsafe"] for row in other]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_a_full_disk(scan: Callable[..., Scan]) -> None:
    scan().journal_path.symlink_to("/dev/full")
    with pytest.raises(
        OutputError, match=r"report\.jsonl\.partial cannot be written: No space left on device\.$"
    ):
        scan(overwrite=True).run_to_summary()


class ScanProcesses:
    """``safelight scan`` in child processes, over many small copies of the photographs."""

    count = 120

    def __init__(self, root: Path, photographs: list[Path]) -> None:
        self.folder = root / "pictures"
        self.report = root / "report.jsonl"
        self.journal = root / "report.jsonl.partial"
        self.folder.mkdir()
        contents = []
        for path in photographs:
            with Image.open(path) as picture:
                picture.thumbnail((96, 96))
                small = root / "small.jpg"
                picture.save(small)
            contents.append(small.read_bytes())
        for number in range(self.count):
            (self.folder / f"{number:03}.jpg").write_bytes(contents[number % len(contents)])
        self.environment = os.environ | {
            "SAFELIGHT_HOME": str(root / "home"),
            "SAFELIGHT_BACKEND": "onnxruntime",
            "SAFELIGHT_PRECISION": "fp32",
        }

    def start(self, *options: str, limit: int | None = None) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "safelight", "scan", str(self.folder), "--out", str(self.report)]

        def limit_files() -> None:
            if limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

        return subprocess.Popen(
            [*command, "--json", "--batch-size", "2", *options],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=limit_files,
        )

    def kill_at(self, lines: int, *options: str) -> int:
        """Start, kill as soon as there are so many lines, and return the number of lines then."""
        process = self.start(*options)
        try:
            give_up = time.monotonic() + 60
            while self.written < lines:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < give_up
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
        finally:
            process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not self.report.exists()
        return self.written

    @property
    def written(self) -> int:
        """Complete lines of images in the journal."""
        return max(0, self.journal.read_bytes().count(b"\n") - 1) if self.journal.exists() else 0

    def finish(self, *options: str) -> dict[str, Any]:
        process = self.start(*options)
        out, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
        body: dict[str, Any] = json.loads(out)
        return body

    def assert_whole(self) -> None:
        rows = [json.loads(line) for line in self.report.read_bytes().splitlines()]
        assert self.report.read_bytes().endswith(b"\n")
        assert Counter(row["path"] for row in rows) == {
            str(self.folder / f"{number:03}.jpg"): 1 for number in range(self.count)
        }
        scores = [row["unsafe"] for row in rows]
        assert scores == [scores[number % 5] for number in range(self.count)], "each line is its picture's"
        assert not self.journal.exists()


@pytest.fixture
def processes(tmp_path: Path, photographs: list[Path]) -> Iterator[ScanProcesses]:
    return ScanProcesses(tmp_path, photographs)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_repeatedly_every_image_is_judged_exactly_once(processes: ScanProcesses) -> None:
    processes.kill_at(20)
    data = processes.journal.read_bytes()
    processes.journal.write_bytes(data[: data.rindex(b"\n", 0, len(data) - 1) + 40])  # cut a line in two
    left = processes.written
    assert 18 <= left < processes.count
    again = processes.kill_at(left + 30, "--resume")
    summary = processes.finish("--resume")
    assert summary["resumed"] == again
    assert summary["judged"] == processes.count - again
    assert summary["total"] == summary["decisions"]["allow"] == processes.count
    processes.assert_whole()


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_disk_that_fills_up_in_the_middle(processes: ScanProcesses) -> None:
    process = processes.start(limit=20_000)
    out, err = process.communicate(timeout=100)
    written = processes.written
    assert 10 < written < 60
    assert not processes.report.exists()
    body = json.loads(out)
    assert (process.returncode, body["error"]["code"]) == (2, "output"), err
    assert body["error"]["message"] == f"{processes.journal} cannot be written: File too large."
    summary = processes.finish("--resume")
    assert (summary["resumed"], summary["judged"]) == (written, processes.count - written)
    processes.assert_whole()
