"""Encode pixels and metadata to a file; the same input gives the same bytes."""

from __future__ import annotations

import io
from typing import get_args

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from safelight.errors import ImageArrayError, OutputError, UsageError
from safelight.file_formats import FileFormat
from safelight.images import usercomment, xmp
from safelight.images.metadata import MAX_BLOCK, PARAMETERS, RECORD, Metadata

LONGEST_SIDE = {"png": 2**31 - 1, "jpeg": 65500, "webp": 16383}
_EXIF = b"Exif\0\0"
_JPEG_EXIF, _JPEG_XMP = 65533, 65504  # one APP1 segment, less the identifier before its content
_NO_METADATA = Metadata()


def encode_picture(
    image: Image.Image,
    kind: FileFormat,
    metadata: Metadata = _NO_METADATA,
    *,
    quality: int = 95,
    lossless: bool = False,
) -> bytes:
    """Encode a picture with its metadata.

    The infotext is stored where A1111 stores it: in PNG's text ``parameters`` (Latin-1 if possible, else UTF-8), and in
    EXIF's UserComment for JPEG and WebP. The record is stored in PNG's text ``safelight`` or in an XMP property.
    Metadata of the image object itself is not written.

    Args:
        image: A picture in mode RGB.
        kind: The format. PNG is lossless.
        metadata: The metadata to write; its notes are not written, and only PNG can hold its ``others``.
        quality: 1 to 100, for JPEG (no chroma subsampling from 90 on) and lossy WebP.
        lossless: Write lossless WebP.

    Raises:
        UsageError: The format is unknown, the quality is out of range, or lossless JPEG was requested.
        ImageArrayError: The mode is not RGB.
        OutputError: The format cannot hold this size or this metadata.
    """
    _check(image, kind, quality, lossless)
    clean = image.copy()
    clean.info = {}  # Pillow writes the profiles and comments in it
    out = io.BytesIO()
    try:
        if kind == "png":
            clean.save(out, "PNG", pnginfo=_png_texts(metadata), compress_level=6)
        else:
            exif, packet = _blocks(metadata, kind)
            if kind == "jpeg":
                subsampling = 0 if quality >= 90 else 2
                clean.save(out, "JPEG", quality=quality, subsampling=subsampling, exif=exif, xmp=packet)
            else:
                clean.save(out, "WEBP", quality=quality, lossless=lossless, method=4, exif=exif, xmp=packet)
    except (OSError, ValueError) as error:
        raise OutputError(f"The picture cannot be written as {kind}: {error}.", hint="Choose png.") from error
    return out.getvalue()


def _check(image: Image.Image, kind: str, quality: int, lossless: bool) -> None:
    if kind not in get_args(FileFormat):
        raise UsageError(f"{kind!r} is no format to write: choose {', '.join(get_args(FileFormat))}.")
    if not 1 <= quality <= 100:
        raise UsageError(f"quality is {quality}; it has to be 1 to 100.")
    if lossless and kind == "jpeg":
        raise UsageError("JPEG cannot be lossless: choose png or webp.")
    if image.mode != "RGB":
        raise ImageArrayError(f"The picture has the mode {image.mode}; RGB is needed.")
    if max(image.size) > LONGEST_SIDE[kind]:
        size = f"{image.width} x {image.height}"
        raise OutputError(
            f"The picture is {size}; a side of {kind} has at most {LONGEST_SIDE[kind]} pixels.",
            hint="Choose png.",
        )


def _png_texts(metadata: Metadata) -> PngInfo:
    info = PngInfo()
    for key, text in metadata.others.items():
        if key in (PARAMETERS, RECORD) or not 1 <= len(key) <= 79:
            raise ValueError(f"{key[:80]!r} cannot be the key of a text")
        info.add_text(key, _sound(text))
    if metadata.parameters is not None:
        info.add_text(PARAMETERS, _sound(metadata.parameters))
    if metadata.record is not None:
        info.add_itxt(RECORD, _sound(metadata.record))
    return info


def _sound(text: str) -> str:
    if "\0" in text:
        raise ValueError("PNG's texts cannot hold the character U+0000")
    if len(text.encode()) > MAX_BLOCK:  # read_metadata would skip it
        raise ValueError(f"a text has more than {MAX_BLOCK} bytes")
    return text


def _blocks(metadata: Metadata, kind: str) -> tuple[bytes, bytes]:
    """The EXIF and XMP blocks; empty if there is nothing to write."""
    if metadata.others:
        raise ValueError(f"it has no place for the text(s) {', '.join(metadata.others)}")
    exif = b"" if metadata.parameters is None else _EXIF + usercomment.exif_with_comment(metadata.parameters)
    packet = b"" if metadata.record is None else xmp.packet(metadata.record)
    most = (_JPEG_EXIF, _JPEG_XMP) if kind == "jpeg" else (MAX_BLOCK - 1, MAX_BLOCK - 1)
    for name, block, limit in (("infotext", exif, most[0]), ("record", packet, most[1])):
        if len(block) > limit:
            raise ValueError(f"its {name} takes {len(block)} bytes, and {kind} holds {limit}")
    return exif, packet
