"""Decoding and parsing do not block other threads: an event loop that runs beside them never waits long."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from tests.thread_latency import assert_short_stalls

from safelight.errors import SafelightError
from safelight.images import decode, iter_frames, read_header
from safelight.images.metadata.file_metadata import read_metadata

WIDTH, HEIGHT = 6000, 4500
"""27 megapixels: whatever decodes them in one piece takes several times as long as is allowed."""


@pytest.fixture(scope="module")
def large(make) -> Image.Image:
    tile = np.random.default_rng(5).integers(0, 40, (HEIGHT // 10, WIDTH // 10, 3), np.uint8)
    return Image.fromarray(np.tile(tile, (10, 10, 1)) + make.pixels(WIDTH, HEIGHT) // 2)


def rows16(channels: int) -> bytes:
    return (b"\0" + bytes(range(250)) * (WIDTH * channels * 2 // 250)) * HEIGHT


TURNED = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"


def clear(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.putalpha(100)
    return image


LARGE: dict[str, Callable[..., bytes]] = {
    "JPEG": lambda make, image: make.encode(image, "JPEG"),
    "progressive JPEG with a profile": lambda make, image: make.encode(
        image, "JPEG", progressive=True, exif=TURNED, icc_profile=make.profile("GRB")
    ),
    "JPEG of CMYK": lambda make, image: make.encode(image.convert("CMYK"), "JPEG"),
    "PNG with alpha": lambda make, image: make.encode(clear(image), "PNG", compress_level=1),
    "PNG of 16 bit": lambda make, image: make.png(WIDTH, HEIGHT, 16, 6, rows16(4)),
    "grey PNG of 16 bit": lambda make, image: make.png(WIDTH, HEIGHT, 16, 0, rows16(1)),
    "WebP with alpha": lambda make, image: make.encode(clear(image), "WEBP", method=0, quality=20),
    "GIF": lambda make, image: make.encode(image.convert("L"), "GIF"),
    "TIFF": lambda make, image: make.encode(image, "TIFF"),
    "TIFF in one strip": lambda make, image: make.encode(
        image, "TIFF", compression="packbits", strip_size=3 * WIDTH * HEIGHT
    ),
    "BMP": lambda make, image: make.encode(image, "BMP"),
    "AVIF": lambda make, image: make.encode(image.crop((0, 0, 3000, 2500)), "AVIF", speed=10),
    "HEIF": lambda make, image: make.encode(image.crop((0, 0, 2000, 1500)), "HEIF", quality=30),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_images(make, large, name):
    data = LARGE[name](make, large)
    assert_short_stalls(lambda: decode(data))


def ifds(count: int) -> bytes:
    """A TIFF of empty directories, one after the other."""
    directories = (struct.pack("<HI", 0, 8 + 6 * (number + 1)) for number in range(count))
    return b"II*\0\x08\0\0\0" + b"".join(directories)[:-4] + bytes(4)


def webp_with(make, name: bytes, content: bytes) -> bytes:
    data = make.encode(make.image(), "WEBP", exif=TURNED)
    chunk = name + struct.pack("<I", len(content)) + content
    flags = bytes([data[20] | 0x04])
    return b"RIFF" + struct.pack("<I", len(data) - 8 + len(chunk)) + data[8:20] + flags + data[21:] + chunk


def attributes(count: int) -> bytes:
    names = " ".join(f'a{number}=""' for number in range(count))
    return f"<a {names}/>".encode()


MANY: dict[str, Callable[..., bytes]] = {
    "chunks": lambda make: make.png(1, 1, 8, 0, b"\0\0", *[make.chunk(b"teXt", b"")] * 190_000),
    "texts": lambda make: make.png(
        1,
        1,
        8,
        0,
        b"\0\0",
        *[make.chunk(b"tEXt", b"k%d\0" % number + bytes(100)) for number in range(10_000)],
    ),
    "compressed texts": lambda make: make.png(
        1, 1, 8, 0, b"\0\0", *[make.chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 20)))] * 30
    ),
    "profile": lambda make: make.encode(
        make.image(), "PNG", icc_profile=make.profile("GRB") + os.urandom(900_000)
    ),
    "segments": lambda make: b"\xff\xd8" + b"\xff\xfe\0\x02" * 2_000_000,
    "padding": lambda make: b"\xff\xd8" + b"\xff" * 20_000_000,
    "directories": lambda make: ifds(90_000),
    "frames": lambda make: make.encode(
        Image.new("L", (8, 8)),
        "GIF",
        save_all=True,
        append_images=[Image.new("L", (8, 8), i) for i in range(256)],
    ),
    "blocks": lambda make: make.gif_bomb(8, 8)[:-1] + b"!\xf9" + b"\x01a" * 1_000_000 + b"\0;",
    "riff chunks": lambda make: webp_with(make, b"junk", b"") + b"junk\0\0\0\0" * 90_000,
    "packet of attributes": lambda make: webp_with(make, b"XMP ", attributes(280_000)),
    "packet of fewer attributes": lambda make: webp_with(make, b"XMP ", attributes(49_000)),
    "packet of elements": lambda make: webp_with(make, b"XMP ", b"<a>" + b"<b/>" * 900_000 + b"</a>"),
    "deep packet": lambda make: webp_with(make, b"XMP ", b"<a>" * 1_200_000),
    "boxes": lambda make: b"\0\0\0\x18ftypavif\0\0\0\0avifmif1" + b"\0\0\0\x08free" * 1_000_000,
    "extents": lambda make: b"\0\0\0\x18ftypavif\0\0\0\0avifmif1" + (b"\0\0\0\x14ispe" + bytes(12)) * 500_000,
}


@pytest.mark.parametrize("name", MANY)
def test_files_of_many_parts(make, name):
    data = MANY[name](make)

    def everything() -> None:
        for look in (read_header, read_metadata, lambda data: list(iter_frames(data))):
            try:
                look(data)
            except SafelightError:
                continue

    assert_short_stalls(everything)
