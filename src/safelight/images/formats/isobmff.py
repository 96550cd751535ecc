"""AVIF and HEIC: check the structure, and open the file with its decoder, which parses without decoding pixels."""

from __future__ import annotations

import io
import itertools
import re
import struct
from typing import Any

from PIL import AvifImagePlugin, ImageFile
from PIL._avif import AvifDecoder
from pillow_heif.as_plugin import HeifImageFile

from safelight.errors import ImageTruncatedError
from safelight.images.child_process.frame_decoder import FrameDecoder
from safelight.images.metadata.exif_orientation import exif_with_orientation, read_orientation
from safelight.images.types import FileLayout, ImageHeader

_BOXES = (b"ftyp", b"meta", b"mdat", b"moov")
_MAX_BOXES = 1000
_CHILD_PROCESS_PIXELS = (
    1 << 20
)  # pixels; for as many the decoder holds the interpreter's lock for 20 to 60 ms
_AV1 = re.compile(rb"av1C\x81.(.)", re.DOTALL)
_EXTENT = re.compile(rb"ispe\0{4}(.{8})", re.DOTALL)


class AvifFile(AvifImagePlugin.AvifImageFile):
    """Pillow's AVIF plugin without its EXIF reader, which warns on damaged blocks.

    The orientation is the container's; that of the EXIF block is ignored.
    """

    def _open(self) -> None:
        assert self.fp is not None  # Pillow's opener sets it; this tells mypy
        self._data = self.fp.read()
        threads = AvifImagePlugin._get_default_max_threads()
        self._decoder = AvifDecoder(self._data, "auto", threads)
        self._size, self.n_frames, self._mode, icc, _, orientation, _ = self._decoder.get_info()
        self.is_animated = self.n_frames > 1
        self.info |= {"icc_profile": icc, "exif": exif_with_orientation(orientation)}
        self._apart: FrameDecoder | None = None
        self.seek(0)

    def load(self) -> Any:
        """Decode the frame; release the decoder and its planes if there is no other frame."""
        if self.tile and self.width * self.height > _CHILD_PROCESS_PIXELS:
            self._apart = self._apart or FrameDecoder("AVIF", self._data)
            size = self.width * self.height * len(self.mode)
            self.fp = io.BytesIO(self._apart.decode_frame(self.tell(), size))
            found = ImageFile.ImageFile.load(self)
        else:
            found = super().load()
        if not self.is_animated:
            self._decoder = self._apart = None
        return found


def inspect_avif(data: bytes) -> FileLayout:
    """Read size and number of frames; pixels are not decoded."""
    _check_boxes(data)
    image = AvifFile(io.BytesIO(data))
    coded, pixels = _coded_pixels(data), image.width * image.height
    configurations = itertools.islice(_AV1.finditer(data), _MAX_BOXES)
    planes = 2 * max((_av1_sample_bytes(box[1]) for box in configurations), default=6)
    alpha = len(image.mode) - 3
    times = (
        2 if pixels > _CHILD_PROCESS_PIXELS else 1
    )  # the frame's bytes, in both processes if a child decodes
    return FileLayout(
        ImageHeader("AVIF", *image.size, max(1, image.n_frames)),
        coded_pixels=coded,
        image=image,
        needs_conversion=bool(alpha or image.info["icc_profile"]) or read_orientation(image.info) != 1,
        buffer_bytes=int(max(coded, pixels) * (planes + 2 * alpha)) + pixels * len(image.mode) * times,
    )


def inspect_heif(data: bytes) -> FileLayout:
    """Read the size of the primary picture; the file's other pictures are not frames and are ignored."""
    _check_boxes(data)
    image = HeifImageFile(io.BytesIO(data))
    image.info.pop("exif", None)  # libheif applies the orientation itself
    bits = int(image.info.get("bit_depth", 8))
    image.info["sample_bits"] = bits
    coded, pixels = _coded_pixels(data), image.width * image.height
    sample = 2 if bits > 8 else 1
    return FileLayout(
        ImageHeader("HEIF", *image.size),
        bits,
        coded_pixels=coded,
        image=image,
        needs_conversion=image.mode != "RGB" or bool(image.info.get("icc_profile")),
        buffer_bytes=max(coded, pixels) * 6 * sample + pixels * len(image.mode),
    )


def _av1_sample_bytes(configuration: bytes) -> float:
    """Bytes per pixel, by the third byte of a box "av1C" (AV1 in ISOBMFF, section 2.3)."""
    flags = configuration[0]
    halved = bool(flags & 0x08) + bool(flags & 0x04)  # horizontally, vertically
    samples = 1 if flags & 0x10 else 1 + 2 / 2**halved  # 0x10: monochrome
    return samples * (2 if flags & 0x40 else 1)


def _check_boxes(data: bytes) -> None:
    """Refuse a truncated file; the decoders' own messages do not distinguish it from a damaged one.

    Raises:
        ImageTruncatedError: A top-level box extends past the end of the file.
    """
    position = 0
    for _ in range(_MAX_BOXES):
        if position + 16 > len(data):
            return
        size, name, long_size = struct.unpack_from(">I4sQ", data, position)
        if name not in _BOXES and not name.isalnum():
            return
        size = long_size if size == 1 else size
        if size < 8:  # 0 means: up to the end of the file
            return
        position += size
        if name in _BOXES and position > len(data):
            raise ImageTruncatedError(
                f"The picture has {len(data)} bytes; by its structure, {position} or more."
            )


def _coded_pixels(data: bytes) -> int:
    """The largest extent (box "ispe") of any item, in pixels; the picture can be a small crop of it."""
    boxes = itertools.islice(_EXTENT.finditer(data), _MAX_BOXES)
    return max(
        (width * height for width, height in (struct.unpack(">II", box[1]) for box in boxes)), default=0
    )
