"""Read and write EXIF's UserComment (Exif 2.32, tag 0x9286), which holds the infotext in JPEG and WebP, as in A1111."""

from __future__ import annotations

import struct

EXIF_IFD, USER_COMMENT = 0x8769, 0x9286
_LONG, _UNDEFINED = 4, 7
_UNICODE, _ASCII, _UNSTATED = b"UNICODE\0", b"ASCII\0\0\0", bytes(8)
_MAX_ENTRIES = 512


def build_exif(text: str) -> bytes:
    """Build a big-endian EXIF block, from its TIFF header on, with one comment in UTF-16-BE.

    Raises:
        UnicodeEncodeError: The text has an unpaired surrogate.
    """
    comment = _UNICODE + text.encode("utf-16-be")
    header = struct.pack(">2sHI", b"MM", 42, 8)
    main = struct.pack(">HHHIII", 1, EXIF_IFD, _LONG, 1, 26, 0)
    exif = struct.pack(">HHHIII", 1, USER_COMMENT, _UNDEFINED, len(comment), 44, 0)
    return header + main + exif + comment


def read_comment(exif: bytes) -> str | None:
    """Read the comment from an EXIF block of either byte order; None if there is none.

    Raises:
        ValueError: The block or the comment's text is damaged.
    """
    block = exif.removeprefix(b"Exif\0\0")
    if block[:4] not in (b"MM\0*", b"II*\0"):
        raise ValueError("it does not begin with a TIFF header")
    order = ">" if block[:2] == b"MM" else "<"
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        directory = _find_entry(block, order, start, EXIF_IFD)
        place = None if directory is None else _find_entry(block, order, directory[1], USER_COMMENT)
    except struct.error as error:
        raise ValueError("it ends within its directories") from error
    return None if place is None else _decode_comment(_read_content(block, *place), order)


def _find_entry(block: bytes, order: str, start: int, tag: int) -> tuple[int, int] | None:
    """Count and value of the directory entry with that tag."""
    (number,) = struct.unpack_from(f"{order}H", block, start)
    entry = struct.Struct(f"{order}HHII")
    for at in range(start + 2, start + 2 + 12 * min(number, _MAX_ENTRIES), 12):
        found, _, count, value = entry.unpack_from(block, at)
        if found == tag:
            return count, value
    return None


def _read_content(block: bytes, count: int, offset: int) -> bytes:
    if count < len(_UNICODE):  # too short for the name of an encoding
        return b""
    if offset + count > len(block):
        raise ValueError("its UserComment runs past its end")
    return block[offset : offset + count]


def _decode_comment(comment: bytes, order: str) -> str | None:
    encoding, body = comment[:8], comment[8:]
    if encoding == _UNICODE:
        text = _decode_utf16(body, order)
    elif encoding in (_ASCII, _UNSTATED):
        text = _decode_bytes(body)
    else:  # programs that write no encoding
        text = _decode_bytes(comment)
    text = text.rstrip("\0")
    return text if text.strip() else None


def _decode_utf16(body: bytes, order: str) -> str:
    """Decode UTF-16 in the byte order of its mark or its block; piexif writes big-endian into little-endian blocks."""
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return body.decode("utf-16")
    little = order == "<" and body[1::2].count(0) > body[::2].count(0)  # most of an infotext is ASCII
    return body.decode("utf-16-le" if little else "utf-16-be")


def _decode_bytes(body: bytes) -> str:
    """Decode bytes: ASCII by the standard, UTF-8 in practice, else Latin-1."""
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return body.decode("latin-1")
