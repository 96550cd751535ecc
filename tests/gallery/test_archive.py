"""Zip archives that are made while they are sent."""

from __future__ import annotations

import io
import random
import shutil
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.gallery.conftest import NOON, new_entry

from safelight.errors import BlockedError, EntryFileMissingError, EntryMissingError
from safelight.gallery import Gallery
from safelight.gallery.archive import LEFT_OUT_NAME, write_archive
from safelight.moderation.policy import Decision
from safelight.settings import Settings

NOBODYS = "0" * 22


def some_files() -> list[tuple[str, datetime, bytes]]:
    chance = random.Random(1)
    return [(f"{number}.png", NOON, chance.randbytes(1000 * number)) for number in range(4)]


def test_an_archive(tmp_path: Path) -> None:
    (path := tmp_path / "x.zip").write_bytes(b"".join(write_archive(some_files())))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        found = archive.infolist()
        assert [(info.filename, archive.read(info)) for info in found] == [(n, d) for n, _, d in some_files()]
        assert {info.compress_type for info in found} == {zipfile.ZIP_STORED}
        assert {info.flag_bits for info in found} == {0}, "sizes are in front of the data"
        assert {info.date_time for info in found} == {(2026, 11, 24, 12, 0, 0)}
    if (unzip := shutil.which("unzip")) is not None:
        subprocess.run([unzip, "-tq", str(path)], check=True, capture_output=True)


def test_each_file_is_read_when_it_is_sent() -> None:
    """So that one is in memory at a time."""
    read: list[str] = []

    def files() -> Iterator[tuple[str, datetime, bytes]]:
        for name, moment, data in some_files():
            read.append(name)
            yield name, moment, data

    parts = write_archive(files())
    for number, (_, _, data) in enumerate(some_files()):
        part = next(parts)
        assert len(read) == number + 1
        assert len(data) <= len(part) < len(data) + 100
        crc, stored, size = struct.unpack_from("<III", part, 14)
        assert (stored, size) == (len(data), len(data))
        assert crc == zlib.crc32(data)


def test_an_abandoned_archive() -> None:
    parts = write_archive(some_files())
    next(parts)
    parts.close()  # type: ignore[attr-defined]


def test_a_time_before_archives_had_any() -> None:
    data = b"".join(write_archive([("a.png", datetime(1970, 1, 2, tzinfo=UTC), b"x")]))
    assert zipfile.ZipFile(io.BytesIO(data)).infolist()[0].date_time == (1980, 1, 2, 0, 0, 0)


def unpack(parts: Iterator[bytes]) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(b"".join(parts))) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_pictures_of_a_gallery(gallery: Gallery) -> None:
    made = [gallery.add(new_entry(number)) for number in range(2)]
    found = unpack(gallery.archive([made[1].id, made[0].id, made[1].id], "anna"))
    assert list(found.items()) == [(f"{entry.id}.png", gallery.read(entry.id)) for entry in reversed(made)]


def test_pictures_without_a_file_are_listed(gallery: Gallery, database_settings: Settings) -> None:
    entry, lost = (gallery.add(new_entry(number)) for number in range(2))
    blocked = gallery.add(new_entry(2, decision=Decision.BLOCK))
    others = gallery.add(new_entry(3, owner="ben"))
    for path in (database_settings.home / "gallery").rglob(f"{lost.id}*"):
        path.unlink()
    found = unpack(gallery.archive([blocked.id, entry.id, lost.id, others.id, "odd"], "anna"))
    assert list(found) == [f"{entry.id}.png", LEFT_OUT_NAME]
    lines = found[LEFT_OUT_NAME].decode().splitlines()
    assert [line.partition(":")[0] for line in lines] == [blocked.id, lost.id, others.id, "odd"]
    assert "policy standard blocked" in lines[0]
    assert lines[2].removeprefix(others.id) == lines[3].removeprefix("odd")


def test_nothing_to_download(gallery: Gallery) -> None:
    blocked = gallery.add(new_entry(1, decision=Decision.BLOCK))
    with pytest.raises(BlockedError):
        gallery.archive([blocked.id, NOBODYS])
    with pytest.raises(EntryMissingError):
        gallery.archive([NOBODYS, blocked.id])
    with pytest.raises(EntryMissingError):
        gallery.archive([gallery.add(new_entry(2)).id], "ben")


def test_a_single_lost_file(gallery: Gallery, database_settings: Settings) -> None:
    entry = gallery.add(new_entry(1))
    for path in (database_settings.home / "gallery").rglob(f"{entry.id}*"):
        path.unlink()
    with pytest.raises(EntryFileMissingError):
        gallery.archive([entry.id])
