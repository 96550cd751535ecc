"""Encode pixels and metadata to a file; the same input gives the same bytes."""

from __future__ import annotations

import io
from typing import get_args

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from safelight.errors import ImageArrayError, OutputError, UsageError
from safelight.file_formats import FileFormat
from safelight.images.metadata import user_comment, xmp
from safelight.images.metadata.file_metadata import MAX_BLOCK_BYTES, PARAMETERS_KEY, RECORD_KEY, Metadata

MAX_SIDE = {"png": 2**31 - 1, "jpeg": 65500, "webp": 16383}
_EXIF = b"Exif\0\0"
_JPEG_EXIF, _JPEG_XMP = 65533, 65504  # one APP1 segment, less the identifier before its content
_NO_METADATA = Metadata()


def encode_image(
    image: Image.Image,
    file_format: FileFormat,
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
        file_format: The format. PNG is lossless.
        metadata: The metadata to write; its notes are not written, and only PNG can hold its ``others``.
        quality: 1 to 100, for JPEG (no chroma subsampling from 90 on) and lossy WebP.
        lossless: Write lossless WebP.

    Raises:
        UsageError: The format is unknown, the quality is out of range, or lossless JPEG was requested.
        ImageArrayError: The mode is not RGB.
        OutputError: The format cannot hold this size or this metadata.
    """
    _check_options(image, file_format, quality, lossless)
    clean = image.copy()
    clean.info = {}  # Pillow writes the profiles and comments in it
    out = io.BytesIO()
    try:
        if file_format == "png":
            clean.save(out, "PNG", pnginfo=_png_info(metadata), compress_level=6)
        else:
            exif, packet = _metadata_blocks(metadata, file_format)
            if file_format == "jpeg":
                subsampling = 0 if quality >= 90 else 2
                clean.save(out, "JPEG", quality=quality, subsampling=subsampling, exif=exif, xmp=packet)
            else:
                clean.save(out, "WEBP", quality=quality, lossless=lossless, method=4, exif=exif, xmp=packet)
    except (OSError, ValueError) as error:
        raise OutputError(
            f"The picture cannot be written as {file_format}: {error}.", hint="Choose png."
        ) from error
    return out.getvalue()


def _check_options(image: Image.Image, file_format: str, quality: int, lossless: bool) -> None:
    if file_format not in get_args(FileFormat):
        raise UsageError(f"{file_format!r} is no format to write: choose {', '.join(get_args(FileFormat))}.")
    if not 1 <= quality <= 100:
        raise UsageError(f"quality is {quality}; it has to be 1 to 100.")
    if lossless and file_format == "jpeg":
        raise UsageError("JPEG cannot be lossless: choose png or webp.")
    if image.mode != "RGB":
        raise ImageArrayError(f"The picture has the mode {image.mode}; RGB is needed.")
    if max(image.size) > MAX_SIDE[file_format]:
        size = f"{image.width} x {image.height}"
        raise OutputError(
            f"The picture is {size}; a side of {file_format} has at most {MAX_SIDE[file_format]} pixels.",
            hint="Choose png.",
        )


def _png_info(metadata: Metadata) -> PngInfo:
    info = PngInfo()
    for key, text in metadata.other_texts.items():
        if key in (PARAMETERS_KEY, RECORD_KEY) or not 1 <= len(key) <= 79:
            raise ValueError(f"{key[:80]!r} cannot be the key of a text")
        info.add_text(key, _check_text(text))
    if metadata.infotext is not None:
        info.add_text(PARAMETERS_KEY, _check_text(metadata.infotext))
    if metadata.record is not None:
        info.add_itxt(RECORD_KEY, _check_text(metadata.record))
    return info


def _check_text(text: str) -> str:
    if "\0" in text:
        raise ValueError("PNG's texts cannot hold the character U+0000")
    if len(text.encode()) > MAX_BLOCK_BYTES:  # read_metadata would skip it
        raise ValueError(f"a text has more than {MAX_BLOCK_BYTES} bytes")
    return text


def _metadata_blocks(metadata: Metadata, kind: str) -> tuple[bytes, bytes]:
    """The EXIF and XMP blocks; empty if there is nothing to write."""
    if metadata.other_texts:
        raise ValueError(f"it has no place for the text(s) {', '.join(metadata.other_texts)}")
    exif = b"" if metadata.infotext is None else _EXIF + user_comment.build_exif(metadata.infotext)
    packet = b"" if metadata.record is None else xmp.build_packet(metadata.record)
    most = (_JPEG_EXIF, _JPEG_XMP) if kind == "jpeg" else (MAX_BLOCK_BYTES - 1, MAX_BLOCK_BYTES - 1)
    for name, block, limit in (("infotext", exif, most[0]), ("record", packet, most[1])):
        if len(block) > limit:
            raise ValueError(f"its {name} takes {len(block)} bytes, and {kind} holds {limit}")
    return exif, packet
