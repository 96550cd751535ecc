"""Files to corrupt, ways to corrupt them, and the allowed outcomes: for the tests and for `make fuzz-images`."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator

from PIL import Image

from safelight.errors import ImageError
from safelight.images import DecodeLimits, is_image, iter_frames, read_header
from safelight.images.metadata.file_metadata import read_metadata

PNG = b"\x89PNG\r\n\x1a\n"
LIMITS = DecodeLimits(max_pixels=1_000_000, max_frames=4)


def flip_bits(data: bytearray, rng: random.Random) -> None:
    """Flip some bits."""
    for _ in range(rng.randint(1, 12)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def truncate(data: bytearray, rng: random.Random) -> None:
    """Cut off the end."""
    del data[rng.randrange(len(data)) :]


def splice(data: bytearray, rng: random.Random) -> None:
    """Copy a part of the file to another place, overwriting or inserting."""
    start, length, to = rng.randrange(len(data)), rng.randint(1, 200), rng.randrange(len(data))
    data[to : to + rng.choice((0, length))] = data[start : start + length]


def edit_header(data: bytearray, rng: random.Random) -> None:
    """Set a few bytes near the beginning to extreme values."""
    at, length = rng.randrange(min(len(data), 160)), rng.choice((1, 2, 4))
    value = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    data[at : at + length] = bytes([value]) * length


def remove_part(data: bytearray, rng: random.Random) -> None:
    """Remove a part."""
    start = rng.randrange(len(data))
    del data[start : start + rng.randint(1, 64)]


MUTATIONS = (flip_bits, truncate, splice, edit_header, remove_part)


def sound_files(make, name: str) -> list[bytes]:
    """Sound files of a format, in its usual variants."""
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


def more_sound_files(make, name: str) -> list[bytes]:
    """The same and rarer variants: alpha, 16 bits, other compressions, run lengths, and texts."""
    found = sound_files(make, name)
    clear = make.image(33, 21)
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    samples = make.pixels(17, 13)
    if name == "PNG":
        found += [
            make.encode(clear, name),
            make.encode(clear.convert("LA"), name),
            make.png16(samples.astype("u2") * 257, 2, make.chunk(b"tRNS", bytes(6))),
            make.png16(samples[:, :, :1].astype("u2") * 257, 0),
            make.png(9, 7, 1, 0, bytes(3 * 7), make.chunk(b"tEXt", b"parameters\0a cat\nSteps: 3")),
            make.encode(clear, name, save_all=True, append_images=[clear.rotate(90)], disposal=2, blend=1),
        ]
    if name == "JPEG":
        found += [
            make.encode(make.image(), name, subsampling=0, comment=b"words"),
            make.encode(make.image(), name),
        ]
    if name == "WEBP":
        found += [make.encode(clear, name, lossless=True), make.encode(clear, name, quality=50)]
    if name == "TIFF":
        compressions = ("jpeg", "packbits", "tiff_adobe_deflate", "group4")
        found += [
            make.encode(make.image().convert("1" if way == "group4" else "RGB"), name, compression=way)
            for way in compressions
        ]
        found += [make.encode(clear, name), make.encode(make.image().convert("CMYK"), name)]
    if name == "GIF":
        found.append(make.encode(clear, name, save_all=True, append_images=[clear.rotate(90)], disposal=3))
    if name == "BMP":
        found += [make.encode(make.image().quantize(16), name), make.encode(make.image().convert("1"), name)]
    if name in ("AVIF", "HEIF"):
        found.append(make.encode(clear, name))
    return found


def corrupted_files(originals: list[bytes], count: int, rng: random.Random) -> Iterator[bytes]:
    """So many corrupted files, each corrupted one to three times; half of the PNGs get valid checksums again."""
    for number in range(count):
        data = bytearray(originals[number % len(originals)])
        for _ in range(rng.randint(1, 3)):
            if data:
                rng.choice(MUTATIONS)(data, rng)
        if data.startswith(PNG) and rng.random() < 0.5:
            repair_checksums(data)
        yield bytes(data)


def repair_checksums(data: bytearray) -> None:
    """Recompute the checksums of a PNG; otherwise little but them would be tested."""
    at = len(PNG)
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        if end + 4 > len(data):
            return
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4)
        at = end + 4


def read_everything(data: bytes) -> str:
    """Run all operations on an untrusted file; returns "decoded", or the code of our error."""
    is_image(data)
    try:
        read_header(data, limits=LIMITS)
        read_metadata(data, limits=LIMITS)
        for frame in iter_frames(data, limits=LIMITS):
            assert frame.pixels.shape[:2] == frame.size[::-1]
            assert frame.pixels.size <= 3 * LIMITS.max_pixels
    except ImageError as error:
        return error.code
    return "decoded"
