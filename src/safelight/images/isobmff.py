"""AVIF and HEIC: their decoders parse without decoding, so they are asked for the size."""

from __future__ import annotations

import io
import itertools
import re
import struct

from PIL import AvifImagePlugin, Image, ImageFile
from PIL._avif import AvifDecoder
from pillow_heif.as_plugin import HeifImageFile

from safelight.errors import ImageTruncatedError
from safelight.images.apart import Apart
from safelight.images.exif import block_with, orientation_of
from safelight.images.picture import Header, Layout

_BOXES = (b"ftyp", b"meta", b"mdat", b"moov")
_MAX_BOXES = 1000
_APART = 1 << 20  # pixels; the decoder holds the interpreter's lock for 20 to 60 ms for so many
_AV1 = re.compile(rb"av1C\x81.(.)", re.DOTALL)
_EXTENT = re.compile(rb"ispe\0{4}(.{8})", re.DOTALL)


class AvifFile(AvifImagePlugin.AvifImageFile):
    """Pillow's AVIF without its EXIF reader, which warns on damaged blocks.

    The orientation is the container's; the EXIF block's does not count.
    """

    def _open(self) -> None:
        assert self.fp is not None  # Pillow's opener sets it; this tells mypy
        self._data = self.fp.read()
        threads = AvifImagePlugin._get_default_max_threads()
        self._decoder = AvifDecoder(self._data, "auto", threads)
        self._size, self.n_frames, self._mode, icc, _, orientation, _ = self._decoder.get_info()
        self.is_animated = self.n_frames > 1
        self.info |= {"icc_profile": icc, "exif": block_with(orientation)}
        self._apart: Apart | None = None
        self.seek(0)

    def load(self) -> Image.core.PixelAccess | None:
        """Decode the frame, and forget the decoder and its planes where there is no other."""
        if self.tile and self.width * self.height > _APART:
            self._apart = self._apart or Apart("AVIF", self._data)
            size = self.width * self.height * len(self.mode)
            self.fp = io.BytesIO(self._apart.frame(self.tell(), size))
            found = ImageFile.ImageFile.load(self)
        else:
            found = super().load()
        if not self.is_animated:
            self._decoder = self._apart = None
        return found


def inspect_avif(data: bytes) -> Layout:
    """Size and number of frames; the pixels are not decoded yet."""
    _check_boxes(data)
    image = AvifFile(io.BytesIO(data))
    coded, pixels = _coded(data), image.width * image.height
    planes = 2 * max((_av1_sample_bytes(box[1]) for box in itertools.islice(_AV1.finditer(data), _MAX_BOXES)), default=6)
    alpha = len(image.mode) - 3
    return Layout(
        Header("AVIF", *image.size, max(1, image.n_frames)),
        coded=coded,
        image=image,
        converted=bool(alpha or image.info["icc_profile"]) or orientation_of(image.info) != 1,
        # the planes, and the frame as bytes; there and here where a child decodes
        buffers=int(max(coded, pixels) * (planes + 2 * alpha)) + pixels * len(image.mode) * (2 if pixels > _APART else 1),
    )


def inspect_heif(data: bytes) -> Layout:
    """Size of the primary picture; the others in the file are not its frames, and are left alone."""
    _check_boxes(data)
    image = HeifImageFile(io.BytesIO(data))
    image.info.pop("exif", None)  # libheif turns the picture upright itself
    bits = int(image.info.get("bit_depth", 8))
    image.info["sample_bits"] = bits
    coded, pixels = _coded(data), image.width * image.height
    sample = 2 if bits > 8 else 1
    return Layout(
        Header("HEIF", *image.size),
        bits,
        coded=coded,
        image=image,
        converted=image.mode != "RGB" or bool(image.info.get("icc_profile")),
        buffers=max(coded, pixels) * 6 * sample + pixels * len(image.mode),
    )


def _av1_sample_bytes(configuration: bytes) -> float:
    """Bytes of a pixel's samples, by the third byte of a box "av1C" (AV1 in ISOBMFF, section 2.3)."""
    flags = configuration[0]
    if flags & 0x10:  # monochrome
        samples = 1.0
    else:
        samples = 1 + 2 / ((1 + bool(flags & 0x08)) * (1 + bool(flags & 0x04)))
    return samples * (2 if flags & 0x40 else 1)


def _check_boxes(data: bytes) -> None:
    """Tell a file that was cut short from a damaged one: the decoders' own messages do not.

    Raises:
        ImageTruncatedError: One of the boxes that matter goes past the end.
    """
    position = 0
    for _ in range(_MAX_BOXES):
        if position + 16 > len(data):
            return
        size, name, long_size = struct.unpack_from(">I4sQ", data, position)
        if name not in _BOXES and not name.isalnum():
            return
        size = long_size if size == 1 else size
        if size < 8:  # 0: up to the end of the file
            return
        position += size
        if name in _BOXES and position > len(data):
            raise ImageTruncatedError(
                f"The picture has {len(data)} bytes; by its structure, {position} or more."
            )


def _coded(data: bytes) -> int:
    """The largest extent (box "ispe") of any item, in pixels: the picture itself may be a small crop of it."""
    boxes = itertools.islice(_EXTENT.finditer(data), _MAX_BOXES)
    return max(
        (width * height for width, height in (struct.unpack(">II", box[1]) for box in boxes)), default=0
    )
