"""Read the text chunks of a PNG (PNG specification, third edition, section 11.3.3), within size limits."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from safelight.images.formats.png import iter_chunks

MAX_TEXT = 4 * 1024 * 1024
MAX_TOTAL_TEXT = 4 * MAX_TEXT
_KINDS = (b"tEXt", b"zTXt", b"iTXt")


def read_texts(data: bytes, notes: list[str]) -> dict[str, str]:
    """Read the texts by key; the last one of a key wins.

    Args:
        data: A PNG file's bytes.
        notes: Notes on skipped texts are appended here: damaged chunks, texts of more than ``MAX_TEXT`` bytes, and
            all texts after ``MAX_TOTAL_TEXT`` bytes.
    """
    found: dict[str, str] = {}
    spent = 0
    for kind, content in _text_chunks(data, notes):
        if spent >= MAX_TOTAL_TEXT:
            notes.append(f"texts after the first {MAX_TOTAL_TEXT} bytes skipped")
            break
        spent += max(len(content), 1024)
        try:
            key, text = _parse_text(kind, content)
        except (ValueError, zlib.error) as error:
            spent += MAX_TEXT
            notes.append(f"{kind.decode()} chunk skipped: {error}")
            continue
        spent += len(text)
        if key in found:
            notes.append(f"text {key!r} is there more than once; the last one counts")
        found[key] = text
    return found


def find_chunk(data: bytes, wanted: bytes) -> bytes | None:
    """The content of the first chunk of a name, at most ``MAX_TEXT`` bytes of it."""
    for name, start in iter_chunks(data):
        if name == wanted:
            return data[start : start + min(_length(data, start), MAX_TEXT)]
    return None


def _text_chunks(data: bytes, notes: list[str]) -> Iterator[tuple[bytes, bytes]]:
    for name, start in iter_chunks(data):
        if name not in _KINDS:
            continue
        end = start + _length(data, start)
        if end - start > MAX_TEXT:
            notes.append(f"{name.decode()} chunk skipped: more than {MAX_TEXT} bytes")
        elif zlib.crc32(data[start - 4 : end]).to_bytes(4, "big") != data[end : end + 4]:
            notes.append(f"{name.decode()} chunk skipped: its checksum is wrong")
        else:
            yield name, data[start:end]


def _length(data: bytes, start: int) -> int:
    return int.from_bytes(data[start - 8 : start - 4], "big")


def _parse_text(kind: bytes, content: bytes) -> tuple[str, str]:
    key, rest = _split_key(content)
    if kind == b"tEXt":
        return key.decode("latin-1"), rest.decode("latin-1")
    if kind == b"zTXt":
        return key.decode("latin-1"), _inflate(rest[1:]).decode("latin-1")
    compressed, (_, text) = rest[:1] == b"\1", _split_key(_split_key(rest[2:])[1])
    return key.decode("latin-1"), (_inflate(text) if compressed else text).decode("utf-8")


def _split_key(content: bytes) -> tuple[bytes, bytes]:
    head, null, tail = content.partition(b"\0")
    if not null:
        raise ValueError("it ends within its header")
    return head, tail


def _inflate(packed: bytes) -> bytes:
    engine = zlib.decompressobj()
    text = engine.decompress(packed, MAX_TEXT + 1)
    if len(text) > MAX_TEXT:
        raise ValueError(f"more than {MAX_TEXT} bytes when decompressed")
    if not engine.eof:
        raise ValueError("its compressed text ends too early")
    return text
