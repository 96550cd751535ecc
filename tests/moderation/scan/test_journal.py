from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from hypothesis import strategies as st
from tests.hypothesis_profiles import example_count

from safelight.errors import OutputError, ResumeMismatchError, SafelightError
from safelight.moderation.scan.journal import Journal, read_rows

HEADER = {"safelight_scan": 1, "policy": "standard"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "report.jsonl.partial"


def write(path: Path, *names: str, resume: bool = False) -> None:
    with Journal(path, HEADER, resume=resume) as journal:
        journal.append({"path": name, "unsafe": 0.5} for name in names)


def test_rows_round_trip(path: Path) -> None:
    write(path, "a", 'quote"d', "new\nline", "日本", "tab\t\\", "\x00")
    assert [row["path"] for row in read_rows(path)] == [
        "a",
        'quote"d',
        "new\nline",
        "日本",
        "tab\t\\",
        "\x00",
    ]
    assert json.loads(path.read_text("utf-8").split("\n")[0]) == HEADER
    assert path.read_bytes().count(b"\n") == 7, "a line for each row, whatever is in it"


def test_each_line_is_written_when_it_is_appended(path: Path) -> None:
    with Journal(path, HEADER, resume=False) as journal:
        journal.append([{"path": "a"}])
        assert [row["path"] for row in read_rows(path)] == ["a"]


def test_resume_reads_the_finished_rows_and_continues(path: Path) -> None:
    write(path, "a", "b")
    with Journal(path, HEADER, resume=True) as journal:
        assert len(journal) == 2
        assert journal.contains("a")
        assert journal.contains("b")
        assert not journal.contains("c")
        journal.append([{"path": "c"}])
    assert [row["path"] for row in read_rows(path)] == ["a", "b", "c"]


def test_without_resume_it_starts_anew(path: Path) -> None:
    write(path, "a", "b")
    write(path, "c")
    assert [row["path"] for row in read_rows(path)] == ["c"]


def test_resume_without_a_journal_starts_one(path: Path) -> None:
    write(path, "a", resume=True)
    assert [row["path"] for row in read_rows(path)] == ["a"]


@given(cut=st.integers(0, 400))
@budget(
    max_examples=example_count(150),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_only_complete_lines_count_wherever_it_was_cut(path: Path, cut: int) -> None:
    names = [f"picture {number}.jpg" for number in range(8)]
    write(path, *names)
    data = path.read_bytes()[:cut]
    path.write_bytes(data)
    whole = max(0, data.count(b"\n") - 1)
    with Journal(path, HEADER, resume=True) as journal:
        assert len(journal) == whole
        assert [journal.contains(name) for name in names] == [number < whole for number in range(8)]
        journal.append({"path": name} for name in names[whole:])
    assert [row["path"] for row in read_rows(path)] == names
    assert json.loads(path.read_bytes().split(b"\n")[0]) == HEADER


def test_a_journal_of_another_scan(path: Path) -> None:
    write(path, "a")
    before = path.read_bytes()
    with pytest.raises(ResumeMismatchError) as caught:
        Journal(path, HEADER | {"policy": "strict"}, resume=True)
    assert caught.value.message == f"{path} was begun with another classifier, policy or option."
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        b"not a journal\n",
        b"\xff\xfe\n",
        json.dumps(HEADER).encode() + b"\n[1]\n",
        json.dumps(HEADER).encode() + b"\n{}\n",
        json.dumps(HEADER).encode() + b"\n\x00\x00\n",
    ],
)
def test_a_file_that_is_no_journal(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(SafelightError, match=r"report\.jsonl\.partial"):
        Journal(path, HEADER, resume=True)


def test_a_journal_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        Journal(tmp_path, HEADER, resume=False)
    assert caught.value.message == f"{tmp_path} cannot be written: Is a directory."
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written: "):
        Journal(tmp_path / "file" / "x.partial", HEADER, resume=False)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_at_the_start(tmp_path: Path) -> None:
    import gc
    import warnings

    (tmp_path / "x.partial").symlink_to("/dev/full")
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with pytest.raises(OutputError, match="No space left on device") as caught:
            Journal(tmp_path / "x.partial", HEADER, resume=False)
        del caught
        gc.collect()
    assert [str(warning.message) for warning in heard] == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_full_disk_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "x.partial"
    with Path("/dev/full").open("wb", buffering=0) as full:
        journal = Journal(path, HEADER, resume=False)
        journal._file.close()
        journal._file = full
        try:
            with pytest.raises(OutputError, match="No space left on device"), journal:
                journal.append([{"path": "a"}])
        finally:
            full.close()


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")
def test_names_of_any_bytes_round_trip(path: Path) -> None:
    import os

    name = os.fsdecode(b"caf\xe9.jpg")
    write(path, name)
    assert [row["path"] for row in read_rows(path)] == [name]
    with Journal(path, HEADER, resume=True) as journal:
        assert journal.contains(name)
