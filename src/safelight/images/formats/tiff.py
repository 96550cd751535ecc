"""TIFF: check the structure, and open pages with Pillow.

Pillow reads every tag of every page, warns on damaged ones and follows loops at quadratic cost. So this module finds
the pages, and Pillow opens one page at a time: the same data with a directory of checked tags.
"""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from dataclasses import dataclass, replace

from PIL import Image, ImageFile, TiffImagePlugin

from safelight.errors import (
    ImageCorruptError,
    ImageError,
    ImageFormatError,
    ImageTruncatedError,
    ImageZeroSizeError,
)
from safelight.images.metadata.exif_orientation import ORIENTATION, exif_with_orientation
from safelight.images.types import FileLayout, ImageHeader

_MAX_PAGES = 100_000
_MAX_ENTRIES = 4096
_MAX_STRIPS = 200_000
_MAX_SAMPLES = 6
_MAX_TILE = 1 << 24  # pixels
_MAX_VALUES = 4096
_COPY_BYTES = 1 << 20
_COMPRESSIONS = (1, 2, 3, 4, 5, 7, 8, 32773, 32946, 50000, 50001)
_SIZES = {1: 1, 3: 2, 4: 4, 5: 8, 7: 1, 16: 8}  # bytes of the types that the tags below can have
_CODES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIPS, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANAR = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _ICC = 322, 323, 324, 325, 34675
_SCALARS = (_WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _ROWS, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT)
_CODING = (266, 292, 293, 317, 531)  # fill order, fax options, predictor, chroma position: scalars
_LISTS = (_BITS, 320, 338, 339, 529, 530, 532)
_BLOBS = (_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES, 347, _ICC)
_KEPT = frozenset((*_SCALARS, *_CODING, *_LISTS, *_BLOBS, ORIENTATION))


@dataclass(frozen=True)
class _TagEntry:
    kind: int
    count: int
    content: bytes


_Tags = dict[int, _TagEntry]


class TiffPage(TiffImagePlugin.TiffImageFile):
    """Pillow's TIFF plugin without the orientation, which we apply as for any format, and without its size limit."""

    def load_prepare(self) -> None:
        """Allocate the pixels."""
        if self._im is None:
            self.im = Image.new(self.mode, self.size).im
        ImageFile.ImageFile.load_prepare(self)

    def load_end(self) -> None:
        """Convert 12-bit grey, and grey where 0 is white; Pillow leaves both as stored."""
        if self.mode == "I;16":
            if self.tag_v2.get(_BITS) == (12,):
                self.im = self.im.point_transform(65535 / 4095, 0)
            if self.tag_v2.get(_PHOTOMETRIC, 0) == 0:
                self.im = self.im.point_transform(-1, 65535)


class _TiffReader:
    """Reads tags and pages of a file of either byte order, 32 or 64 bit."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.order = "<" if data[:2] == b"II" else ">"
        self.big = b"+" in data[2:4]
        self.first = self.unpack("Q", 8) if self.big else self.unpack("I", 4)
        self.entry_size, self.inline = (20, 8) if self.big else (12, 4)

    def unpack(self, code: str, position: int) -> int:
        return int(struct.unpack_from(self.order + code, self.data, position)[0])

    def read_directory(self, position: int) -> tuple[int, int]:
        """Number of entries of a directory, and the position of the first."""
        count = self.unpack("Q" if self.big else "H", position)
        return count, position + (8 if self.big else 2)

    def next_page(self, position: int) -> int:
        count, start = self.read_directory(position)
        return self.unpack("Q" if self.big else "I", start + count * self.entry_size)

    def read_tags(self, position: int) -> _Tags:
        """The tags that affect pixels and whose content lies within the file."""
        count, start = self.read_directory(position)
        if count > _MAX_ENTRIES:
            raise ImageCorruptError(f"The TIFF picture has a directory of {count} entries.")
        found: _Tags = {}
        for at in range(start, start + count * self.entry_size, self.entry_size):
            tag, kind = self.unpack("H", at), self.unpack("H", at + 2)
            if tag in _KEPT and tag not in found and kind in _SIZES:
                found[tag] = self._entry(tag, kind, at + 4)
        return found

    def _entry(self, tag: int, kind: int, at: int) -> _TagEntry:
        code, width = ("Q", 8) if self.big else ("I", 4)
        count = self.unpack(code, at)
        size = count * _SIZES[kind]
        start = at + width if size <= self.inline else self.unpack(code, at + width)
        if tag in _LISTS and count > _MAX_VALUES:
            raise ImageCorruptError(f"The TIFF picture's tag {tag} has {count} values.")
        if tag not in _LISTS and tag not in _BLOBS:
            count, size = 1, _SIZES[kind]
        if start + size > len(self.data):
            raise ImageTruncatedError(f"The TIFF picture's tag {tag} lies past its end.")
        return _TagEntry(kind, count, self.data[start : start + size])

    def values(self, tags: _Tags, tag: int) -> tuple[int, ...]:
        entry = tags.get(tag)
        if entry is None or entry.kind not in _CODES:
            return ()
        return struct.unpack(f"{self.order}{entry.count}{_CODES[entry.kind]}", entry.content)

    def value(self, tags: _Tags, tag: int, default: int) -> int:
        return next(iter(self.values(tags, tag)), default)


def inspect(data: bytes) -> FileLayout:
    """Read the size of the first page and the positions of all pages.

    Raises:
        ImageTruncatedError: A directory lies past the end of the file.
        ImageCorruptError: A directory is invalid, or there are too many pages.
    """
    try:
        reader = _TiffReader(data)
        pages = _find_pages(reader)
        return replace(_page_layout(reader, pages[0], len(pages)), page_offsets=pages)
    except struct.error as error:
        raise ImageTruncatedError("The TIFF picture's directory lies past its end.") from error


def add_pages(data: bytes, layout: FileLayout, indices: tuple[int, ...]) -> FileLayout:
    """Add the layouts of later pages; damaged pages are left out, since they will not be decoded."""
    reader = _TiffReader(data)
    others = []
    for index in indices:
        with suppress(struct.error, ImageError):
            others.append(_page_layout(reader, layout.page_offsets[index], 1))
    return replace(layout, other_pages=tuple(others))


def _page_layout(reader: _TiffReader, offset: int, count: int) -> FileLayout:
    tags = reader.read_tags(offset)
    width, height = reader.value(tags, _WIDTH, 0), reader.value(tags, _HEIGHT, 0)
    bits = max(reader.values(tags, _BITS), default=1)
    samples = reader.value(tags, _SAMPLES, 1)
    grey = samples == 1 and reader.value(tags, _PHOTOMETRIC, 1) in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _PALETTE)
    plain = samples == 3 and reader.value(tags, _PHOTOMETRIC, 2) in (_RGB, _YCBCR)
    depth = 2 if bits > 8 else 1
    rows = min(reader.value(tags, _ROWS, height), height)
    part = _MAX_TILE if _TILES in tags else width * rows
    coded = reader.value(tags, _COMPRESSION, 1) != 1
    return FileLayout(
        ImageHeader("TIFF", width, height, count),
        bits,
        pixel_bytes=depth * (1 if grey else 4),
        needs_conversion=not plain or _ICC in tags or reader.value(tags, ORIENTATION, 1) != 1,
        # a copy of the file, and one strip or tile as it is decompressed
        buffer_bytes=len(reader.data) * 9 // 8 + (part * max(4, samples) * depth if coded else 0),
    )


def open_page(data: bytes, layout: FileLayout, index: int = 0) -> Image.Image:
    """Open one page without decoding it.

    Raises:
        ImageTruncatedError: The page's data lies past the end of the file.
        ImageCorruptError: The page's tags contradict each other.
        ImageFormatError: The variant is not supported.
        ImageZeroSizeError: The page has no pixels.
    """
    reader = _TiffReader(data)
    tags = reader.read_tags(layout.page_offsets[index])
    orientation = reader.value(tags, ORIENTATION, 1)
    image = TiffPage(_build_page_file(reader, _checked_tags(reader, tags)))
    if image.mode in ("I", "F"):
        raise ImageFormatError("TIFF with samples of 32 bits, or signed ones, is not opened.")
    image.info["exif"] = exif_with_orientation(orientation)
    return image


def _find_pages(reader: _TiffReader) -> tuple[int, ...]:
    """Positions of the pages; a chain that loops ends at the loop."""
    pages: dict[int, None] = {}
    position = reader.first
    while position and position not in pages:
        pages[position] = None
        position = reader.next_page(position)
        if len(pages) > _MAX_PAGES:
            raise ImageCorruptError(f"The TIFF picture has more than {_MAX_PAGES} pages.")
    if not pages:
        raise ImageCorruptError("The TIFF picture has no page.")
    return tuple(pages)


def _checked_tags(reader: _TiffReader, tags: _Tags) -> _Tags:
    """The tags without inapplicable ones, and with only as many strips or tiles as the page needs."""
    if reader.value(tags, _COMPRESSION, 1) not in _COMPRESSIONS:
        raise ImageFormatError(f"TIFF with compression {reader.value(tags, _COMPRESSION, 1)} is not opened.")
    if reader.value(tags, _SAMPLES, 1) > _MAX_SAMPLES:
        raise ImageFormatError(f"TIFF with more than {_MAX_SAMPLES} samples a pixel is not opened.")
    tiled = _TILES in tags
    where, sizes = (_TILES, _TILE_BYTES) if tiled else (_STRIPS, _STRIP_BYTES)
    other = (_STRIPS, _STRIP_BYTES, _ROWS) if tiled else (_TILES, _TILE_BYTES, _TILE_WIDTH, _TILE_HEIGHT)
    needed = _count_parts(reader, tags, tiled)
    kept = {tag: entry for tag, entry in tags.items() if tag not in (*other, ORIENTATION)}
    kept |= {tag: _truncate_values(tags[tag], needed) for tag in (where, sizes) if tag in tags}
    _check_parts(reader, kept, where, sizes, needed)
    return kept


def _count_parts(reader: _TiffReader, tags: _Tags, tiled: bool) -> int:
    """Number of strips or tiles of a page."""
    width, height = reader.value(tags, _WIDTH, 0), reader.value(tags, _HEIGHT, 0)
    if not width or not height:
        raise ImageZeroSizeError(f"A page of the TIFF picture is {width} x {height}: it has no pixels.")
    across = reader.value(tags, _TILE_WIDTH, 0) if tiled else width
    down = reader.value(tags, _TILE_HEIGHT, 0) if tiled else min(reader.value(tags, _ROWS, height), height)
    if not across or not down or (tiled and across * down > _MAX_TILE):
        raise ImageCorruptError(f"The TIFF picture has tiles or strips of {across} x {down} pixels.")
    planes = reader.value(tags, _SAMPLES, 1) if reader.value(tags, _PLANAR, 1) == 2 else 1
    parts = -(-width // across) * -(-height // down) * planes
    if parts > _MAX_STRIPS:
        raise ImageCorruptError(f"The TIFF picture has {parts} strips or tiles.")
    return parts


def _truncate_values(entry: _TagEntry, count: int) -> _TagEntry:
    count = min(count, entry.count)
    return _TagEntry(entry.kind, count, entry.content[: count * _SIZES[entry.kind]])


def _check_parts(reader: _TiffReader, tags: _Tags, where: int, sizes: int, needed: int) -> None:
    starts, lengths = reader.values(tags, where), reader.values(tags, sizes)
    if len(starts) < needed:
        raise ImageCorruptError(f"The TIFF picture has {len(starts)} of {needed} strips or tiles.")
    end = max(map(sum, zip(starts, lengths, strict=False)), default=0)
    if max(end, max(starts) + 1) > len(reader.data):
        raise ImageTruncatedError(f"The TIFF picture ends at byte {len(reader.data)}, its pixels at {end}.")


def _build_page_file(reader: _TiffReader, tags: _Tags) -> io.BytesIO:
    """The file with a directory of these tags at its end, and a header that points to it."""
    order, code, inline = reader.order, ("Q" if reader.big else "I"), reader.inline
    base = len(reader.data) + len(reader.data) % 2
    after = base + (8 if reader.big else 2) + len(tags) * reader.entry_size + inline
    entries, contents = [], bytearray()
    for tag in sorted(tags):
        entry = tags[tag]
        value = entry.content.ljust(inline, b"\0")
        if len(entry.content) > inline:
            value = struct.pack(order + code, after + len(contents))
            contents += entry.content + b"\0" * (len(entry.content) % 2)
        entries.append(struct.pack(f"{order}HH{code}", tag, entry.kind, entry.count) + value)
    count = struct.pack(f"{order}{'Q' if reader.big else 'H'}", len(tags))
    head = reader.data[: 8 if reader.big else 4] + struct.pack(order + code, base)
    file = io.BytesIO()
    file.write(head)
    for at in range(
        len(head), base, _COPY_BYTES
    ):  # copying everything at once would hold the interpreter's lock
        file.write(reader.data[at : at + _COPY_BYTES])
    file.seek(base)
    file.write(b"".join((count, *entries, b"\0" * inline, contents)))
    file.seek(0)
    return file
