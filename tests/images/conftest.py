"""Images created by the tests, so that no test depends on a file or on the network."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pillow_heif import as_plugin

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")


class ImageBuilders:
    """Builders of images and of files."""

    formats = FORMATS

    @staticmethod
    def pixels(width: int = 64, height: int = 48) -> np.ndarray:
        """A smooth image without any symmetry."""
        red = np.arange(width) * 255 // max(width - 1, 1)
        green = np.arange(height)[:, None] * 255 // max(height - 1, 1)
        pixels = np.empty((height, width, 3), np.uint8)
        pixels[..., 0], pixels[..., 1] = red, green
        pixels[..., 2] = (red.astype(np.uint16) + 2 * green.astype(np.uint16)) // 3
        return pixels

    @classmethod
    def image(cls, width: int = 64, height: int = 48) -> Image.Image:
        return Image.fromarray(cls.pixels(width, height))

    @staticmethod
    def encode(image: Image.Image, name: str, **options: object) -> bytes:
        out = io.BytesIO()
        if name == "HEIF":
            image = image.copy()
            image.encoderinfo = {"enc_params": {"preset": "ultrafast"}} | options
            as_plugin._save_heif(image, out, "")
        else:
            image.save(out, name, **options)
        return out.getvalue()

    @classmethod
    def lossless(cls, image: Image.Image, name: str = "PNG", **options: object) -> bytes:
        extra = {"lossless": True} if name == "WEBP" else {}
        return cls.encode(image, name, **extra, **options)

    @classmethod
    def animation(cls, count: int, name: str = "GIF", size: tuple[int, int] = (16, 12)) -> bytes:
        """An animation whose frame i has one colour, of red 25 * i."""
        images = [Image.new("RGB", size, (25 * i % 256, 0, 25 * i // 256)) for i in range(count)]
        options = {"lossless": True} if name == "WEBP" else {}
        if name == "GIF":
            options = {"duration": [10 * i + 10 for i in range(count)]}
        return cls.encode(images[0], name, save_all=True, append_images=images[1:], **options)

    @staticmethod
    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    @classmethod
    def png(cls, width: int, height: int, bits: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
        header = cls.chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
        body = cls.chunk(b"IDAT", zlib.compress(rows, 9))
        return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + body + cls.chunk(b"IEND", b"")

    @classmethod
    def png16(cls, samples: np.ndarray, colour: int, *extra: bytes) -> bytes:
        """A 16-bit PNG; samples [height, width, channels]."""
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
        return cls.png(samples.shape[1], samples.shape[0], 16, colour, rows, *extra)

    @staticmethod
    def tiff(tags: dict[int, tuple[int, list[int]]], data: bytes = b"", *, following: int = 0) -> bytes:
        """A little-endian TIFF of one directory; the pixel data is at byte 8."""
        start = 8 + len(data) + len(data) % 2
        after = start + 2 + 12 * len(tags) + 4
        entries, contents = b"", b""
        for tag, (kind, values) in sorted(tags.items()):
            packed = struct.pack(f"<{len(values)}{ {3: 'H', 4: 'I'}[kind] }", *values)
            value = packed.ljust(4, b"\0")
            if len(packed) > 4:
                value = struct.pack("<I", after + len(contents))
                contents += packed
            entries += struct.pack("<HHI", tag, kind, len(values)) + value
        directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)
        return b"II*\0" + struct.pack("<I", start) + data.ljust(start - 8, b"\0") + directory + contents

    @classmethod
    def grey_tiff(cls, width: int, height: int, data: bytes = b"\0", **changes: int) -> bytes:
        compression = changes.get("compression", 1)
        tags = {256: (4, [width]), 257: (4, [height]), 258: (3, [changes.get("bits", 8)])}
        tags |= {259: (3, [compression]), 262: (3, [changes.get("photometric", 1)]), 273: (4, [8])}
        tags |= {
            277: (3, [changes.get("samples", 1)]),
            278: (4, [changes.get("rows", height)]),
            279: (4, [len(data)]),
        }
        if "sample_format" in changes:
            tags[339] = (3, [changes["sample_format"]])
        return cls.tiff(tags, data, following=changes.get("following", 0))

    @staticmethod
    def gif_bomb(width: int, height: int) -> bytes:
        screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
        return screen + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\0;"

    @staticmethod
    def webp_header(width: int, height: int) -> bytes:
        bits = (width - 1) | (height - 1) << 14
        body = b"VP8L" + struct.pack("<I", 8) + b"\x2f" + struct.pack("<I", bits) + b"\0\0\0"
        return b"RIFF" + struct.pack("<I", 4 + len(body) + 2) + b"WEBP" + body + b"\0\0"

    @staticmethod
    def profile(order: str = "GRB") -> bytes:
        """The ICC profile of sRGB with its primaries in another order."""
        from PIL import ImageCms

        blob = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
        tags = [
            struct.unpack_from(">4sII", blob, 132 + 12 * i)
            for i in range(struct.unpack_from(">I", blob, 128)[0])
        ]
        where = {name: start for name, start, _ in tags}
        colours = {letter: bytes(blob[where[f"{letter.lower()}XYZ".encode()] :][:20]) for letter in "RGB"}
        for letter, source in zip("RGB", order, strict=True):
            at = where[f"{letter.lower()}XYZ".encode()]
            blob[at : at + 20] = colours[source]
        return bytes(blob)


@pytest.fixture(scope="session")
def make() -> type[ImageBuilders]:
    return ImageBuilders


@pytest.fixture(scope="session", params=FORMATS)
def format_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def source_root() -> Path:
    return Path(__file__).parents[2] / "src"
