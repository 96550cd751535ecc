"""GIF: check the structure, and open the file with Pillow."""

from __future__ import annotations

import io
import struct

from PIL import GifImagePlugin, Image

from safelight.errors import ImageCorruptError, ImageTruncatedError
from safelight.images.types import FileLayout, ImageHeader

_MAX_BLOCKS = 1 << 20
_MAX_COMMENT = 1 << 20  # bytes; Pillow joins comments at quadratic cost
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_COMMENT = 0xFE


class _BlockReader:
    """One pass over a GIF's blocks, without decoding."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.width, self.height, flags = struct.unpack_from("<HHB", data, 6)
        self.empty = not (self.width and self.height)
        self.position = 13 + _color_table_bytes(flags)
        self.frames = self.blocks = self.comment = 0

    def read_blocks(self) -> None:
        """Read blocks up to the trailer, or to the end of the file if only the trailer is missing."""
        while self.position < len(self.data) and (kind := self.data[self.position]) != _TRAILER:
            self.position += 1
            self._count_blocks(1)
            if kind == _IMAGE:
                self._read_image()
            elif kind == _EXTENSION:
                self._read_extension()

    def _read_image(self) -> None:
        left, top, width, height, flags = struct.unpack_from("<HHHHB", self.data, self.position)
        # a frame can extend beyond the logical screen, which then grows
        self.width, self.height = max(self.width, left + width), max(self.height, top + height)
        self.position += 9 + _color_table_bytes(flags) + 1
        self._read_sub_blocks()
        self.frames += 1

    def _read_extension(self) -> None:
        label = self.data[self.position]
        self.position += 1
        size = self._read_sub_blocks()
        self.comment += size if label == _COMMENT else 0
        if self.comment > _MAX_COMMENT:
            raise ImageCorruptError(f"The GIF picture has more than {_MAX_COMMENT} bytes of comments.")

    def _read_sub_blocks(self) -> int:
        data, start, position = self.data, self.position, self.position
        blocks = 0
        while size := data[position]:
            position += size + 1
            blocks += 1
            if blocks > _MAX_BLOCKS:
                break
        self._count_blocks(blocks)
        self.position = position + 1
        return position - start

    def _count_blocks(self, blocks: int) -> None:
        self.blocks += blocks
        if self.blocks > _MAX_BLOCKS:
            raise ImageCorruptError(f"The GIF picture has more than {_MAX_BLOCKS} blocks.")


def _color_table_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def inspect(data: bytes) -> FileLayout:
    """Read size and number of frames from the blocks.

    Raises:
        ImageTruncatedError: The file ends within a block, or before the first frame.
        ImageCorruptError: The file has more blocks or comments than Pillow reads in reasonable time.
    """
    try:
        walker = _BlockReader(data)
        if walker.empty:
            return FileLayout(ImageHeader("GIF", walker.width, walker.height))
        walker.read_blocks()
    except (struct.error, IndexError) as error:
        raise ImageTruncatedError("The GIF picture ends within a block.") from error
    if not walker.frames:
        raise ImageTruncatedError("The GIF picture has no frame.")
    header = ImageHeader("GIF", walker.width, walker.height, walker.frames)
    if walker.frames == 1:
        return FileLayout(header, pixel_bytes=1)
    return FileLayout(header, buffer_bytes=8 * walker.width * walker.height)  # the last frame, and the canvas


def open_image(data: bytes, layout: FileLayout) -> Image.Image:  # noqa: ARG001 - all formats are opened alike
    """Open the picture at its first frame without decoding it."""
    return GifImagePlugin.GifImageFile(io.BytesIO(data))
