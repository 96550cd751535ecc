"""WebP: check the structure, and open the file with Pillow."""

from __future__ import annotations

import io
import struct
from collections import Counter
from collections.abc import Iterator

from PIL import Image, WebPImagePlugin

from safelight.errors import ImageCorruptError, ImageTruncatedError
from safelight.images.child_process.frame_decoder import FrameDecoder
from safelight.images.types import FileLayout, ImageHeader

_MAX_CHUNKS = 100_000
_ANIMATED, _EXIF, _ALPHA, _PROFILE = 0x02, 0x08, 0x10, 0x20
_CHILD_PROCESS_PIXELS = 16 << 20  # pixels; Pillow holds the interpreter's lock for 30 ms to copy as many


class WebpFile(WebPImagePlugin.WebPImageFile):
    """Pillow's WebP plugin, which releases a still picture's decoder, with two canvases, as soon as it is decoded."""

    def _open(self) -> None:
        assert self.fp is not None  # Pillow's opener sets it; this tells mypy
        self._data = self.fp.read()
        self.fp = io.BytesIO(self._data)
        super()._open()
        self._apart: FrameDecoder | None = None

    def _get_next(self) -> tuple[bytes, int, int]:
        if self.width * self.height > _CHILD_PROCESS_PIXELS:
            self._apart = self._apart or FrameDecoder("WEBP", self._data)
            found = self._apart.decode_frame(self.tell(), 4 * self.width * self.height), 0, 0
        else:
            found = super()._get_next()
        if not self.is_animated:
            self._decoder = self._apart = None
        return found

    def _seek(self, frame: int) -> None:
        if self.width * self.height <= _CHILD_PROCESS_PIXELS:
            super()._seek(frame)


def inspect(data: bytes) -> FileLayout:
    """Read size and number of frames from the chunks; opening the file with Pillow would allocate whole canvases.

    Raises:
        ImageTruncatedError: The file is shorter than its header states.
        ImageCorruptError: The first chunk does not state a size, or there are too many chunks.
    """
    if len(data) < int.from_bytes(data[4:8], "little") + 8 or len(data) < 30:
        raise ImageTruncatedError("The WebP picture is shorter than it says.")
    width, height = _read_size(data)
    if data[12:16] != b"VP8X":
        alpha = data[12:16] == b"VP8L" and bool(data[24] & 0x10)
        return _layout(width, height, 1, lossless=data[12:16] == b"VP8L", converted=alpha, size=len(data))
    names = Counter(_iter_chunks(data))
    frames = max(1, names[b"ANMF"]) if data[20] & _ANIMATED else 1
    converted = bool(data[20] & (_PROFILE | _ALPHA | _EXIF)) or b"ALPH" in names or b"VP8L" in names
    return _layout(width, height, frames, lossless=b"VP8 " not in names, converted=converted, size=len(data))


def _layout(
    width: int, height: int, frames: int, *, lossless: bool, converted: bool, size: int
) -> FileLayout:
    """The layout; the decoder holds a copy of the file, two canvases, a frame's bytes and working memory."""
    pixels = width * height
    return FileLayout(
        ImageHeader("WEBP", width, height, frames),
        needs_conversion=converted,
        buffer_bytes=size
        + pixels * (8 + (4 if frames > 1 or pixels > _CHILD_PROCESS_PIXELS else 0) + (4 if lossless else 1)),
    )


def open_image(data: bytes, layout: FileLayout) -> Image.Image:  # noqa: ARG001 - all formats are opened alike
    """Open the picture at its first frame; its canvas is allocated, its pixels are not decoded."""
    return WebpFile(io.BytesIO(data))


def _read_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L" and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise ImageCorruptError("The WebP picture does not begin with its header.")


def _iter_chunks(data: bytes) -> Iterator[bytes]:
    position = 12
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(data):
            return
        name, length = struct.unpack_from("<4sI", data, position)
        yield name
        position += 8 + length + (length & 1)
    raise ImageCorruptError(f"The WebP picture has more than {_MAX_CHUNKS} chunks.")
