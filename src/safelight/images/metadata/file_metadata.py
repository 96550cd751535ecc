"""Read the texts in a picture file that describe how it was made, within size limits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from safelight.images.metadata import png_text, user_comment, xmp
from safelight.images.reader import read_bytes
from safelight.images.sniff import detect_format
from safelight.images.types import DecodeLimits

PARAMETERS_KEY, RECORD_KEY = "parameters", "safelight"
MAX_BLOCK_BYTES = png_text.MAX_TEXT
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_MAX_SEGMENTS = 4096
_APP1, _SOS, _EOI = 0xE1, 0xDA, 0xD9
_STANDALONE_MARKERS = frozenset((0x01, *range(0xD0, 0xD9)))
_DEFAULT = DecodeLimits()


@dataclass(frozen=True)
class Metadata:
    """The metadata of a picture file.

    Args:
        infotext: The infotext: PNG's text ``parameters``, EXIF's UserComment in other formats. Untrusted: any
            program can write there.
        record: The reproduction record as JSON: PNG's text ``safelight``, an XMP property in other formats. Not
            validated.
        other_texts: PNG's other texts by key.
        notes: Which parts were skipped, and why.
    """

    infotext: str | None = None
    record: str | None = None
    other_texts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    notes: tuple[str, ...] = ()


def read_metadata(source: str | os.PathLike[str] | bytes, *, limits: DecodeLimits = _DEFAULT) -> Metadata:
    """Read the metadata of a PNG, JPEG or WebP. Pixels are not decoded and need not be complete.

    Damaged or oversized parts are skipped with a note, and so are files of other formats.

    Args:
        source: A path or a file's bytes.
        limits: ``max_bytes`` limits the file; a text has at most 4 MiB after decompression.

    Raises:
        FileMissingError: The path cannot be read.
        ImageError: The file is empty, too large, or not a picture.
    """
    data = read_bytes(source, limits.max_bytes)
    name = detect_format(data)
    read = _READERS.get(name)
    return read(data) if read else Metadata(notes=(f"{name} files are not searched for metadata",))


def _read_png(data: bytes) -> Metadata:
    notes: list[str] = []
    texts = png_text.read_texts(data, notes)
    record = texts.pop(RECORD_KEY, None)
    parameters = texts.pop(PARAMETERS_KEY, None)
    if parameters is None:
        parameters = _read_block("EXIF", user_comment.read_comment, png_text.find_chunk(data, b"eXIf"), notes)
    return Metadata(parameters, record, MappingProxyType(texts), tuple(notes))


def _read_jpeg(data: bytes) -> Metadata:
    blocks = list(_app1_segments(data))
    exif = next((block for block in blocks if block.startswith(_EXIF)), None)
    packet = next((block.removeprefix(_XMP) for block in blocks if block.startswith(_XMP)), None)
    return _parse_blocks(exif, packet)


def _read_webp(data: bytes) -> Metadata:
    blocks = dict(_riff_chunks(data))
    return _parse_blocks(blocks.get(b"EXIF"), blocks.get(b"XMP "))


def _parse_blocks(exif: bytes | None, packet: bytes | None) -> Metadata:
    notes: list[str] = []
    parameters = _read_block("EXIF", user_comment.read_comment, exif, notes)
    record = _read_block("XMP", xmp.read_record, packet, notes)
    return Metadata(parameters, record, notes=tuple(notes))


def _read_block(
    name: str, read: Callable[[bytes], str | None], block: bytes | None, notes: list[str]
) -> str | None:
    """Read the text of a block; None, with a note, if the block is damaged or too large."""
    if block is None:
        return None
    if len(block) >= MAX_BLOCK_BYTES:
        notes.append(f"{name} block skipped: {MAX_BLOCK_BYTES} bytes or more")
        return None
    try:
        return read(block)
    except ValueError as error:
        notes.append(f"{name} block skipped: {error}")
        return None


def _app1_segments(data: bytes) -> Iterator[bytes]:
    """The contents of a JPEG's APP1 segments before its first scan."""
    position = 2
    for _ in range(_MAX_SEGMENTS):
        position = data.find(b"\xff", position)
        if position < 0 or position + 4 > len(data):
            return
        marker = data[position + 1]
        if marker in (_SOS, _EOI):
            return
        if marker == 0xFF or marker in _STANDALONE_MARKERS:  # padding, or a marker without content
            position += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == _APP1:
            yield data[position + 4 : position + 2 + length]
        position += 2 + max(length, 2)


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The EXIF and XMP chunks of a WebP, truncated if they are too large."""
    position = 12
    for _ in range(_MAX_SEGMENTS):
        name, length = (
            data[position : position + 4],
            int.from_bytes(data[position + 4 : position + 8], "little"),
        )
        if len(name) < 4:
            return
        if name in (b"EXIF", b"XMP "):
            yield name, data[position + 8 : position + 8 + min(length, MAX_BLOCK_BYTES)]
        position += 8 + length + (length & 1)


_READERS: MappingProxyType[str, Callable[[bytes], Metadata]] = MappingProxyType(
    {"PNG": _read_png, "JPEG": _read_jpeg, "WEBP": _read_webp}
)
