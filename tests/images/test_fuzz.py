"""Damaged files: an error of ours or a picture, soon, and nothing else."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest

from safelight.errors import ImageError
from safelight.images import DecodeLimits, frames, header, is_picture

SEED = 20240607
PER_FILE = 100
SECONDS = 3.0
LIMITS = DecodeLimits(max_pixels=1_000_000, max_frames=4)


def flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 12)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def splice(data: bytearray, rng: random.Random) -> None:
    start, length, to = rng.randrange(len(data)), rng.randint(1, 200), rng.randrange(len(data))
    data[to : to + rng.choice((0, length))] = data[start : start + length]


def edit_header(data: bytearray, rng: random.Random) -> None:
    at, length = rng.randrange(min(len(data), 160)), rng.choice((1, 2, 4))
    value = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    data[at : at + length] = bytes([value]) * length


def erase(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.randint(1, 64)]


MUTATIONS = (flip, cut, splice, edit_header, erase)


def seeds(make, name: str) -> list[bytes]:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    options = {} if name in ("GIF", "BMP") else {"exif": exif, "icc_profile": make.profile("GRB")}
    if name == "TIFF":
        options = {"icc_profile": make.profile("GRB"), "compression": "tiff_lzw"}
    found = [
        make.encode(make.image(40, 30), name, **options),
        make.encode(make.image(31, 20).convert("L"), name),
    ]
    if name in ("GIF", "PNG", "WEBP", "AVIF", "TIFF"):
        found.append(make.animation(5, name))
    if name == "JPEG":
        found.append(make.encode(make.image(40, 30).convert("CMYK"), name, progressive=True))
    if name in ("PNG", "TIFF"):
        found.append(make.encode(make.image(40, 30).quantize(8), name))
    return found


def look(data: bytes) -> str:
    is_picture(data)
    try:
        header(data, limits=LIMITS)
        for frame in frames(data, limits=LIMITS):
            assert frame.pixels.shape[:2] == frame.size[::-1]
            assert frame.pixels.size <= 3 * LIMITS.max_pixels
    except ImageError as error:
        return error.code
    return "decoded"


@pytest.mark.timeout(120)
def test_damaged_files_end_in_a_picture_or_in_an_error_of_ours(make, format_name, capfd):
    rng = random.Random(f"{SEED}{format_name}")
    originals = seeds(make, format_name)
    outcomes: Counter[str] = Counter()
    for number in range(PER_FILE):
        data = bytearray(originals[number % len(originals)])
        for _ in range(rng.randint(1, 3)):
            rng.choice(MUTATIONS)(data, rng) if data else None
        began = time.perf_counter()
        outcomes[look(bytes(data))] += 1
        assert time.perf_counter() - began < SECONDS, number
    assert sum(outcomes.values()) == PER_FILE
    assert len(outcomes) >= 3, outcomes
    assert ImageError.code not in outcomes  # each has to say what is wrong
    out, err = capfd.readouterr()
    assert out == ""
    # libtiff, within Pillow, prints its errors, and nothing in Pillow's interface stops it
    assert all(line.startswith("tempfile.tif: ") for line in err.splitlines())


def test_every_prefix_of_a_file_is_an_error_or_a_picture(make, format_name):
    data = make.encode(make.image(9, 7), format_name)
    step = max(1, len(data) // 60)
    for length in range(0, len(data), step):
        look(data[:length])
