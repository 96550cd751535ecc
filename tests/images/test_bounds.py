"""Nothing costs more than the limits say: bytes, pixels, seconds and memory."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from safelight.errors import (
    ImageCorruptError,
    ImageError,
    ImageFormatError,
    ImageTooManyBytesError,
    ImageTooManyPixelsError,
)
from safelight.images import DecodeLimits, decode, iter_frames, read_header

SECONDS = 0.2
"""Of processor time, which other processes on the machine do not change."""
MEGABYTES = 200
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")

# A child inherits its parent's ru_maxrss, so the peak is read where the system keeps one for each process
PEAK = """
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
"""

# Runs in a child process, so that the peak is the image's and not an earlier test's
PROBE = (
    PEAK
    + """
import json, sys, time
from safelight.errors import SafelightError
from safelight.images import decode, iter_frames, read_header
results = {}
for path in sys.argv[1:]:
    for look in (decode, read_header, lambda path: list(iter_frames(path))):
        before, began, code = peak(), time.process_time(), "none"
        try:
            look(path)
        except SafelightError as error:
            code = error.code
        seconds = time.process_time() - began
        grown = peak() - before
        results.setdefault(path, []).append((code, seconds, grown))
print(json.dumps(results))
"""
)


def set_box_size(data: bytes, width: int, height: int) -> bytes:
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]


def scan_bomb(make, copies: int) -> bytes:
    data = make.encode(make.image(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * copies + b"\xff\xd9"


@pytest.fixture(scope="module")
def bombs(make) -> dict[str, tuple[str, bytes]]:
    """Files that claim far more than they hold, and the code of the expected error."""
    jpeg = bytearray(make.encode(make.image(), "JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 65500, 65500)
    bmp = bytearray(make.encode(make.image(), "BMP"))
    bmp[18:26] = struct.pack("<ii", 60000, -60000)
    vp8x = b"RIFF" + struct.pack("<I", 22 + 4) + b"WEBPVP8X" + struct.pack("<II", 10, 2)
    vp8x += (16382).to_bytes(3, "little") * 2 + bytes(4)
    zeros = zlib.compress(bytes(100_000_000), 6)
    text = make.chunk(b"zTXt", b"k\0\0" + zeros)
    profile = make.chunk(b"iCCP", b"k\0\0" + zeros)
    comment = b"!\xfe" + (b"\xff" + b"c" * 255) * 80_000 + b"\0"
    gif = make.encode(make.image(), "GIF")
    gif = gif[: gif.index(b",")] + comment + gif[gif.index(b",") :]
    pixels, corrupt = "image.too_many_pixels", "image.corrupt"
    return {
        "png": (pixels, make.png(20_000, 20_000, 1, 0, bytes(20_000 * 2501))),
        "tiff": (pixels, make.grey_tiff(100_000, 100_000, bytes(100), compression=8)),
        "gif": (pixels, make.gif_bomb(65_535, 65_535)),
        "webp": (pixels, make.webp_header(16_383, 16_383)),
        "webp_canvas": (pixels, vp8x),
        "jpeg": (pixels, bytes(jpeg)),
        "bmp": (pixels, bytes(bmp)),
        "avif": (pixels, set_box_size(make.encode(make.image(), "AVIF"), 16_000, 16_000)),
        "heif": (pixels, set_box_size(make.encode(make.image(), "HEIF"), 16_000, 16_000)),
        "scans": (corrupt, scan_bomb(make, 3000)),
        "text": (corrupt, make.png(1, 1, 8, 0, b"\0\0", text)),
        "profile": (corrupt, make.png(1, 1, 8, 0, b"\0\0", profile)),
        "comment": (corrupt, gif),
        "strips": (corrupt, make.grey_tiff(1, 60_000_000, rows=1)),
        "chunks": (corrupt, make.png(1, 1, 8, 0, b"\0\0", *[make.chunk(b"teXt", b"")] * 1_000_000)),
        "segments": (corrupt, b"\xff\xd8" + b"\xff\xfe\0\x02" * 2_000_000),
        "exif": (corrupt, b"\xff\xd8" + (b"\xff\xe1\xff\xff" + b"Exif\0\0" + bytes(65527)) * 500),
        "padding": (corrupt, b"\xff\xd8" + b"\xff" * 20_000_000),
    }  # fmt: skip


@LINUX
def test_decompression_bombs_are_refused_quickly_and_with_little_memory(bombs, tmp_path, source_root):
    for name, (_, data) in bombs.items():
        (tmp_path / name).write_bytes(data)
    paths = [str(tmp_path / name) for name in bombs]
    (tmp_path / "warm").write_bytes(b"x")
    command = [sys.executable, "-W", "error", "-c", PROBE, *paths]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(source_root)}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    results = json.loads(done.stdout)
    for name, (code, _) in bombs.items():
        looked = results[str(tmp_path / name)]
        heads = looked[1][0]
        assert heads in (code, "none"), name
        for found, seconds, megabytes in (looked[0], looked[2]):
            assert found == code, (name, looked)
            assert seconds < SECONDS, (name, looked)
            assert megabytes < MEGABYTES, (name, looked)


def test_header_alone_refuses_too_many_pixels(bombs):
    for code, data in bombs.values():
        if code == "image.too_many_pixels":
            with pytest.raises(ImageTooManyPixelsError):
                read_header(data)


def test_pixel_limit_is_exact_for_every_source(make, format_name):
    data = make.encode(make.image(), format_name)
    exact, less = DecodeLimits(max_pixels=64 * 48), DecodeLimits(max_pixels=64 * 48 - 1)
    for source in (data, make.image(), make.pixels()):
        assert decode(source, limits=exact).size == (64, 48)
        for look in (decode, read_header, lambda *args, **options: list(iter_frames(*args, **options))):
            with pytest.raises(ImageTooManyPixelsError, match="64 x 48"):
                look(source, limits=less)


def test_pillows_own_limit_has_no_effect(make, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for name in set(make.formats) - {"GIF"}:
        assert decode(make.encode(make.image(), name)).size == (64, 48)


def test_byte_limit_is_exact_and_checked_before_reading(make, tmp_path):
    data = make.encode(make.image(), "PNG")
    path = tmp_path / "picture"
    path.write_bytes(data)
    exact, less = DecodeLimits(max_bytes=len(data)), DecodeLimits(max_bytes=len(data) - 1)
    for source in (data, bytearray(data), path, str(path)):
        assert decode(source, limits=exact).format == "PNG"
        with pytest.raises(ImageTooManyBytesError):
            decode(source, limits=less)
    assert decode(io.BytesIO(data), limits=exact).format == "PNG"
    endless = io.BytesIO(data + bytes(1000))
    with pytest.raises(ImageTooManyBytesError):
        decode(endless, limits=less)
    assert endless.tell() == len(data)


def test_sparse_file_of_a_terabyte_is_not_read(tmp_path):
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    began = time.perf_counter()
    with pytest.raises(ImageTooManyBytesError):
        decode(path)
    assert time.perf_counter() - began < SECONDS


def test_progressive_images_and_images_with_trailers_are_not_scan_bombs(make):
    data = make.encode(make.image(), "JPEG", progressive=True)
    assert np.array_equal(decode(data + b"\xff\xda\0\x02" * 500).pixels, decode(data).pixels)
    assert decode(scan_bomb(make, 50)).size == (64, 48)
    with pytest.raises(ImageCorruptError, match="too many scans"):
        decode(scan_bomb(make, 200))


def test_scans_of_thumbnails_do_not_count(make):
    data = make.encode(make.image(), "JPEG", progressive=True)
    block = b"\xff\xda" * 30_000
    block = b"\xff\xe5" + struct.pack(">H", len(block) + 2) + block
    assert decode(data[:2] + block + data[2:]).size == (64, 48)


def test_run_length_bmp_is_decoded_within_its_bounds(make):
    head = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 40 + 1024)
    palette = b"".join(bytes([n, n, n, 0]) for n in range(256))

    def bmp(width: int, height: int) -> bytes:
        info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 0, 0, 0, 256, 0)
        return head + info + palette + b"\x03\x07\0\0\x03\x09\0\1"

    assert decode(bmp(3, 2)).pixels[:, :, 0].tolist() == [[9, 9, 9], [7, 7, 7]]
    with pytest.raises(ImageFormatError):
        decode(bmp(8000, 7000))


@LINUX
def test_frames_hold_one_frame_at_a_time(tmp_path, make, source_root):
    data = make.animation(40, size=(1000, 1000))
    (tmp_path / "long.gif").write_bytes(data)
    code = """
import sys
from safelight.images import DecodeLimits, iter_frames
next(iter_frames(sys.argv[1]))
before = peak()
count = sum(1 for _ in iter_frames(sys.argv[1], limits=DecodeLimits(max_frames=40)))
print(count, peak() - before)
"""
    command = [sys.executable, "-c", PEAK + code, str(tmp_path / "long.gif")]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(source_root)}, capture_output=True, text=True, timeout=60
    )
    count, grown = done.stdout.split()
    assert int(count) == 40
    assert float(grown) < 40  # 40 frames would be 120


def test_a_decompression_bomb_is_an_image_error(bombs):
    for _, data in bombs.values():
        with pytest.raises(ImageError):
            decode(data)
