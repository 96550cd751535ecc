"""The estimate of the memory that decoding takes is sufficient, and not much too high."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from safelight.images import DecodeLimits, decode
from safelight.images.decoding import inspect_file
from safelight.images.memory_cost import decode_memory, encode_memory

WIDTH, HEIGHT = 1500, 1000
SPARE = 16 << 20
"""Bytes by which a small image's estimate may be too high: the constant part."""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")

# The system keeps a peak for each process, and resets it on request. The peak of a child process counts too.
PROBE = """
import gc, json, pickle, resource, sys

def status(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

def peak(do):
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = status("VmRSS")
    do()
    return status("VmHWM") - before

from safelight.images import DecodeLimits, decode, iter_frames
from safelight.images.encoding import encode_image
with open(sys.argv[1], "rb") as file:
    files = pickle.load(file)
first = next(iter(files.values()))[0]
decode(first)
found = {}
for name, (data, shrink_to) in files.items():
    def look():
        for frame in iter_frames(data, shrink_to=shrink_to):
            pass
    found[name] = peak(look)
picture = decode(first).image
for kind, options in (("png", {}), ("jpeg", {"quality": 100}), ("webp", {}), ("webp", {"lossless": True})):
    name = " ".join(("encode", kind, *options))
    found[name] = peak(lambda: encode_image(picture, kind, **options))
print(json.dumps(found))
"""


def pictures(make) -> dict[str, Image.Image]:
    noise = np.random.default_rng(7).integers(-30, 30, (HEIGHT, WIDTH, 3))
    colour = Image.fromarray((make.pixels(WIDTH, HEIGHT).astype(int) + noise).clip(0, 255).astype(np.uint8))
    clear = colour.copy()
    clear.putalpha(Image.linear_gradient("L").resize(colour.size))
    return {
        "1": colour.convert("1"),
        "L": colour.convert("L"),
        "P": colour.quantize(16),
        "RGB": colour,
        "LA": clear.convert("LA"),
        "RGBA": clear,
        "CMYK": colour.convert("CMYK"),
    }


def animation(make, image: Image.Image, name: str, **options: object) -> bytes:
    images = [image.rotate(10 * turn) for turn in range(4)]
    return make.encode(images[0], name, save_all=True, append_images=images[1:], **options)


def files(make) -> dict[str, tuple[bytes, int | None]]:
    """Files of every format and mode, and the size that they are shrunk to."""
    images, icc, rng = pictures(make), make.profile("GRB"), np.random.default_rng(3)
    turned = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    changed = {"exif": turned, "icc_profile": icc}
    found: dict[str, tuple[bytes, int | None]] = {}

    def add(kind: str, mode: str, **options: object) -> None:
        label = " ".join((kind, mode, *map(str, options)))
        found[label] = make.encode(images[mode], kind, **options), None

    for mode in ("RGB", "L", "CMYK"):
        add("JPEG", mode)
        add("JPEG", mode, progressive=True, quality=95, subsampling=0)
        found[f"JPEG {mode} shrunk"] = make.encode(images[mode], "JPEG"), 224
    add("JPEG", "RGB", **changed)
    add("JPEG", "RGB", progressive=True)
    found["JPEG RGB progressive shrunk"] = make.encode(images["RGB"], "JPEG", progressive=True), 224
    for mode in ("1", "L", "P", "RGB", "LA", "RGBA"):
        add("PNG", mode, compress_level=1)
    add("PNG", "RGBA", compress_level=1, **changed)
    for samples, colour in ((1, 0), (2, 4), (3, 2), (4, 6)):
        values = rng.integers(0, 65536, (HEIGHT, WIDTH, samples), np.uint16)
        found[f"PNG 16 bit {samples}"] = make.png16(values, colour), None
        if samples in (1, 3):
            key = make.chunk(b"tRNS", bytes(2 * samples))
            found[f"PNG 16 bit {samples} with a key"] = make.png16(values, colour, key), None
    for mode in ("RGB", "RGBA"):
        add("WEBP", mode, method=0)
        add("WEBP", mode, method=0, lossless=True)
        add("TIFF", mode, compression="tiff_lzw", **({} if mode == "RGBA" else {"icc_profile": icc}))
        add("TIFF", mode, compression="tiff_lzw", strip_size=4 * WIDTH * HEIGHT)
        add("AVIF", mode, speed=10)
        add("HEIF", mode, quality=60)
    for mode in ("1", "L", "P", "RGB", "CMYK"):
        add("TIFF", mode)
    for mode in ("1", "L", "P", "RGB"):
        add("BMP", mode)
    add("TIFF", "RGB", compression="jpeg")
    add("GIF", "P")
    for disposal in (1, 2, 3):
        found[f"GIF animation {disposal}"] = animation(make, images["RGBA"], "GIF", disposal=disposal), None
    for disposal, blend in ((0, 0), (1, 1), (2, 1)):
        data = animation(make, images["RGB"], "PNG", disposal=disposal, blend=blend, compress_level=1)
        found[f"APNG {disposal} {blend}"] = data, None
    found["WEBP animation"] = animation(make, images["RGBA"], "WEBP", method=0), None
    found["AVIF animation"] = animation(make, images["RGB"], "AVIF", speed=10), None
    found["TIFF pages"] = animation(make, images["RGB"], "TIFF", compression="tiff_lzw"), None
    small = make.image(40, 30)
    pages = make.encode(small, "TIFF", save_all=True, append_images=[images["RGBA"]])
    found["TIFF with a larger second page"] = pages, None
    return found


@pytest.fixture(scope="module")
def said(make) -> dict[str, tuple[bytes, int | None]]:
    return files(make)


@pytest.fixture(scope="module")
def measured(said, tmp_path_factory, source_root) -> dict[str, int]:
    import pickle

    path = tmp_path_factory.mktemp("cost") / "files"
    path.write_bytes(pickle.dumps(said))
    # freed memory goes back to the system at once, so that it counts where it is allocated again
    environment = os.environ | {
        "PYTHONPATH": str(source_root),
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "65536",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(path)], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.timeout(300)
def test_decoding_takes_no_more_than_estimated_and_not_much_less(said, measured):
    limits, wrong = DecodeLimits(), {}
    for name, (data, shrink_to) in said.items():
        bound, taken = decode_memory(inspect_file(data, limits), limits, shrink_to), measured[name]
        apart = name.startswith("AVIF")  # a child process takes as much again
        if not taken <= bound <= (4 if apart else 2) * taken + SPARE:
            wrong[name] = f"{taken / 1e6:.1f} MB taken, {bound / 1e6:.1f} MB said"
    assert not wrong


def test_encoding_takes_no_more_than_estimated(measured):
    taken: dict[str, int] = {}
    for name, size in measured.items():
        if name.startswith("encode "):
            kind = name.split()[1]
            taken[kind] = max(taken.get(kind, 0), size)
    assert set(taken) == {"png", "jpeg", "webp"}
    for kind, most in taken.items():
        bound = encode_memory((WIDTH, HEIGHT), kind)
        assert most <= bound <= 2 * most + SPARE, (kind, most, bound)


def test_16_bit_samples_take_no_more_than_their_decoder_and_the_result(make, measured):
    pixels = WIDTH * HEIGHT
    assert measured["PNG 16 bit 4"] < pixels * (8 + 3) + SPARE
    assert measured["PNG 16 bit 3"] < pixels * (8 + 3) + SPARE


def test_the_estimate_of_a_very_wide_row_is_sufficient(make):
    data = make.png(3_000_000, 1, 16, 6, bytes(1 + 8 * 3_000_000))
    assert decode_memory(inspect_file(data, DecodeLimits()), DecodeLimits()) > 3_000_000 * 16
    assert decode(data).size == (3_000_000, 1)
