from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import Connection, Engine, delete, select, text
from tests.gallery.conftest import NOON, make_image_file, make_record, new_entry

from safelight.database import read_transaction, write_transaction
from safelight.errors import DatabaseOpenError
from safelight.gallery import Gallery, NewEntry, RepairReport, Search
from safelight.gallery import repair as repairing
from safelight.gallery.entry_ids import make_entry_id, make_entry_key
from safelight.gallery.tables import entries
from safelight.moderation.policy import Decision
from safelight.settings import Settings

AT_ONCE = timedelta(0)


@pytest.fixture
def folder(database_settings: Settings) -> Path:
    return database_settings.home / "gallery"


def delete_row(engine: Engine, name: str) -> None:
    """Delete a file's row, as a crash between the two writes does."""
    with write_transaction(engine) as connection:
        connection.execute(delete(entries).where(entries.c.id == name))


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_consistent_gallery_is_unchanged(gallery: Gallery):
    assert gallery.repair() == RepairReport()
    kept = [gallery.add(new_entry(number)) for number in range(3)]
    kept.append(gallery.add(new_entry(3, decision=Decision.BLOCK)))
    assert gallery.repair(AT_ONCE) == RepairReport()
    assert gallery.search(Search()).entries == tuple(reversed(kept))


def test_a_file_without_a_row_is_added_from_its_metadata(gallery: Gallery, engine: Engine):
    lost = gallery.add(new_entry(7, prompt="a blue whale"))
    delete_row(engine, lost.id)
    assert gallery.repair() == RepairReport(adopted=1)
    found = gallery.get(lost.id)
    assert (found.job_id, found.owner, found.prompt, found.seed) == (None, None, "a blue whale", 7)
    assert (found.created, found.sha256, found.path) == (lost.created, lost.sha256, lost.path)
    assert gallery.search(Search(query="whale")).entries == (found,)
    assert gallery.repair() == RepairReport()


@pytest.mark.parametrize("later", [timedelta(0), timedelta(days=2)])
def test_a_repeated_job_claims_its_image(gallery: Gallery, engine: Engine, folder: Path, later: timedelta):
    lost = gallery.add(new_entry(7))
    delete_row(engine, lost.id)
    gallery.repair()
    gallery.annotate(lost.id, favourite=True, tags=["kept"])
    again = gallery.add(new_entry(7, created=NOON + later, tags=("own",)))
    assert (again.id, again.job_id, again.owner, again.unsafe) == (lost.id, "job-7", "anna", 0.125)
    assert (again.favourite, again.tags) == (True, ("kept", "own"))
    assert gallery.search(Search()).entries == (again,)
    assert files(folder) == {str(again.path)}


def test_a_file_of_an_earlier_run_is_recognised_by_its_key_and_deleted(
    gallery: Gallery, engine: Engine, folder: Path
):
    lost = gallery.add(new_entry(7))
    delete_row(engine, lost.id)
    again = gallery.add(new_entry(7, created=NOON + timedelta(days=2)))
    assert len(files(folder)) == 2
    assert gallery.repair() == RepairReport(removed=1)
    assert files(folder) == {str(again.path)}
    assert gallery.search(Search()).entries == (again,)


def test_that_file_is_kept_where_it_is_the_only_one(gallery: Gallery, engine: Engine, folder: Path):
    lost = gallery.add(new_entry(7))
    delete_row(engine, lost.id)
    again = gallery.add(new_entry(7, created=NOON + timedelta(days=2)))
    (folder / str(again.path)).unlink()
    assert gallery.repair() == RepairReport(missing=1)
    assert files(folder) == {str(lost.path)}


def gif() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "GIF")
    return buffer.getvalue()


def test_unexpected_files_are_ignored_and_block_nothing(
    gallery: Gallery, folder: Path, caplog: pytest.LogCaptureFixture
):
    """Invalid images, other formats, wrong places, a folder, and a loop of links."""
    day = folder / "2026" / "11" / "24"
    day.mkdir(parents=True)
    names = [make_entry_id(NOON, make_entry_key(letter, 0)) for letter in "abcdefgh"]
    (day / f"{names[0]}.png").write_bytes(b"half a pict")
    (day / f"{names[1]}.gif").write_bytes(b"GIF89a" * 5)
    (day / f"{names[2]}.gif").write_bytes(gif())
    (day / f"{names[3]}.png").write_bytes(gif())
    (day / f"{names[4]}.gif").write_bytes(make_image_file(None))
    (folder / "2026" / "11" / "23").mkdir()
    (folder / "2026" / "11" / "23" / f"{names[5]}.png").write_bytes(make_image_file(None))
    (day / f"{names[6]}.png").mkdir()
    (day / f"{names[7]}.png").symlink_to(day / f"{names[7]}.png")
    (day / "holiday.png").write_bytes(make_image_file(None))
    (day / f"{make_entry_id(NOON, make_entry_key('z', 0))}.png").write_bytes(
        make_image_file(None)
    )  # the last in order
    before = files(folder)
    assert gallery.repair() == RepairReport(adopted=1, unrecognized=6)
    assert [record.fields["files"] for record in caplog.records] == [6]  # type: ignore[attr-defined]
    assert files(folder) == before
    assert gallery.repair() == RepairReport(unrecognized=6)


def test_a_file_that_the_database_refuses_blocks_nothing(
    gallery: Gallery, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    day = folder / "2026" / "11" / "24"
    day.mkdir(parents=True)
    first, second = sorted(make_entry_id(NOON, make_entry_key(letter, 0)) for letter in "ab")
    for name in (first, second):
        (day / f"{name}.png").write_bytes(make_image_file(None))
    enter = repairing.insert_entry

    def refuse_first(connection: Connection, name: str, new: NewEntry) -> object:
        return connection.execute(text("SELECT nothing")) if name == first else enter(connection, name, new)

    monkeypatch.setattr(repairing, "insert_entry", refuse_first)
    assert gallery.repair() == RepairReport(adopted=1, unrecognized=1)

    def away(*_: object) -> None:
        raise DatabaseOpenError

    monkeypatch.setattr(repairing, "insert_entry", away)
    with pytest.raises(DatabaseOpenError):
        gallery.repair()


def test_half_written_files_are_deleted_when_they_are_old(gallery: Gallery, folder: Path):
    (folder / "coming").mkdir(parents=True)
    (folder / "coming" / ".picture.1.tmp").write_bytes(b"half")
    assert gallery.repair() == RepairReport()
    assert gallery.repair(AT_ONCE) == RepairReport(removed=1)
    assert files(folder) == set()


def test_missing_files_are_marked_until_they_are_back(gallery: Gallery, folder: Path):
    entry = gallery.add(new_entry())
    path = folder / str(entry.path)
    path.rename(folder / "elsewhere")
    assert gallery.repair() == RepairReport(missing=1)
    assert gallery.repair() == RepairReport()
    assert gallery.get(entry.id).missing
    (folder / "elsewhere").rename(path)
    assert gallery.repair() == RepairReport(restored=1)
    assert gallery.get(entry.id) == entry


def test_more_than_a_batch(gallery: Gallery, folder: Path, monkeypatch: pytest.MonkeyPatch):
    """A lost database, and a folder with more files than one batch."""
    monkeypatch.setattr("safelight.gallery.repair._BATCH", 3)
    data = make_image_file(make_record("one of many"))
    day = folder / "2026" / "11" / "24"
    day.mkdir(parents=True)
    for number in range(8):
        (day / f"{make_entry_id(NOON, make_entry_key('many', number))}.png").write_bytes(data)
    assert gallery.repair() == RepairReport(adopted=8)
    for path in day.iterdir():
        path.unlink()
    assert gallery.repair() == RepairReport(missing=8)


CRASHER = """
import os, random, signal, sys, time
from pathlib import Path
from pydantic import SecretStr
from safelight.database import open_database
from safelight.gallery import Gallery
from safelight.settings import Settings
from tests.gallery.conftest import NOON, new_entry

pictures = [new_entry(number // 2, index=number % 2) for number in range(200)]
settings = Settings(home=Path(sys.argv[1]), database=SecretStr(sys.argv[2]))
chance, entered = random.Random(7), 0
for _ in range(10):
    seen, told = os.pipe()
    child = os.fork()
    if child == 0:
        gallery = Gallery(open_database(settings), settings.home)
        for picture in pictures[entered:]:
            gallery.add(picture)
            os.write(told, b"x")
        os._exit(0)
    for _ in range(chance.randint(1, 8)):
        os.read(seen, 1)
        entered += 1
    time.sleep(chance.uniform(0, 0.05))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
"""


def test_killed_at_any_moment(gallery: Gallery, engine: Engine, folder: Path, database_settings: Settings):
    url = database_settings.database.get_secret_value()
    ran = subprocess.run(
        [sys.executable, "-c", CRASHER, str(database_settings.home), url],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    gallery.repair(AT_ONCE)
    with read_transaction(engine) as connection:
        rows = connection.execute(select(entries)).all()
    assert len(rows) >= 10
    assert len({(row.job_id, row.index) for row in rows}) == len({row.id for row in rows}) == len(rows)
    assert not any(row.missing for row in rows)
    digests = {row.id: row.sha256 for row in rows}
    assert {Path(path).stem for path in files(folder)} == set(digests)
    for path in files(folder):
        assert hashlib.sha256((folder / path).read_bytes()).hexdigest() == digests[Path(path).stem]
    for number in range(10):
        assert gallery.add(new_entry(number)).owner == "anna"
    assert gallery.repair(AT_ONCE) == RepairReport()
