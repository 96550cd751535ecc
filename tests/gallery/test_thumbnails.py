from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest
from PIL import Image
from tests.gallery.conftest import make_image_file, make_record

from safelight.errors import GalleryError, ImageError, OutputError
from safelight.file_formats import FileFormat
from safelight.gallery.thumbnails import ThumbnailCache


def size_of(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "WEBP"
        return image.size


def gone() -> bytes:
    pytest.fail("the cache has it")


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_the_longer_side_has_the_requested_size(tmp_path: Path, kind: FileFormat):
    data = make_image_file(make_record("x"), kind, size=(300, 150))
    made = ThumbnailCache(tmp_path).get("name", 64, lambda: data)
    assert size_of(made) == (64, 32)
    assert b"EXIF" not in made
    assert b"starter" not in made


def test_a_smaller_image_keeps_its_size(tmp_path: Path):
    assert size_of(ThumbnailCache(tmp_path).get("name", 64, lambda: make_image_file(None))) == (32, 16)


def test_a_narrow_strip_keeps_a_pixel(tmp_path: Path):
    data = make_image_file(make_record("x"), size=(2048, 40))
    assert size_of(ThumbnailCache(tmp_path).get("name", 1024, lambda: data)) == (1024, 20)
    assert size_of(ThumbnailCache(tmp_path).get("name", 16, lambda: data)) == (16, 1)


def test_a_thumbnail_is_cached_until_its_entry_is_deleted(tmp_path: Path):
    first = ThumbnailCache(tmp_path).get("name", 64, lambda: make_image_file(None))
    ThumbnailCache(tmp_path).get("name", 32, lambda: make_image_file(None))
    ThumbnailCache(tmp_path).get("names", 32, lambda: make_image_file(None))
    assert ThumbnailCache(tmp_path).get("name", 64, gone) == first
    ThumbnailCache(tmp_path).delete("name")
    assert [path.name for path in tmp_path.rglob("*.webp")] == ["names-32.webp"]


def test_the_oldest_are_evicted(tmp_path: Path):
    cache = ThumbnailCache(tmp_path, max_files=256 * 2)  # two in each folder
    for age, side in enumerate((16, 17, 18, 19)):
        cache.get("name", side, lambda: make_image_file(None))
        path = next(tmp_path.rglob(f"name-{side}.webp"))
        os.utime(path, (time.time() - 100 + age,) * 2)
    assert {path.name for path in tmp_path.rglob("*.webp")} == {"name-18.webp", "name-19.webp"}


@pytest.mark.parametrize("side", [0, 15, 1025, -1])
def test_sides_out_of_range(tmp_path: Path, side: int):
    with pytest.raises(GalleryError, match="16 to 1024"):
        ThumbnailCache(tmp_path).get("name", side, gone)


def test_a_damaged_image_leaves_nothing(tmp_path: Path):
    with pytest.raises(ImageError):
        ThumbnailCache(tmp_path).get("name", 64, lambda: make_image_file(None)[:100])
    assert list(tmp_path.rglob("*.*")) == []


def test_a_thumbnail_that_cannot_be_deleted(tmp_path: Path):
    cache = ThumbnailCache(tmp_path)
    cache.get("name", 64, lambda: make_image_file(None))
    path = next(tmp_path.rglob("*.webp"))
    path.unlink()
    path.mkdir()  # not even root unlinks a folder
    with pytest.raises(OutputError, match="name-64"):
        cache.delete("name")
