"""Content negotiation (RFC 9110), and conversion of image files to the negotiated format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from safelight.errors import NotAcceptableError
from safelight.file_formats import FileFormat
from safelight.generation.record import FileRef, ReproductionRecord
from safelight.images import DecodeLimits, decode
from safelight.images.decoding import read_header
from safelight.images.encoding import encode_image
from safelight.images.memory_cost import encode_memory
from safelight.images.metadata.file_metadata import Metadata, read_metadata
from safelight.images.sniff import detect_format

JSON = "application/json"
IMAGE_TYPES: Mapping[str, FileFormat] = {"image/png": "png", "image/webp": "webp", "image/jpeg": "jpeg"}
OFFERED_TYPES = (JSON, *IMAGE_TYPES)
DEFAULT_QUALITY = 95
SUBPROCESS_BYTES = 200 * 10**6
"""Bytes of memory above which a child process encodes: WebP takes ten times as much as the image itself."""


def media_type(kind: FileFormat) -> str:
    """The media type of an image format."""
    return f"image/{kind}"


def negotiate(accept: str | None, offered: Sequence[str] = OFFERED_TYPES) -> str:
    """The offered media type with the highest weight (RFC 9110, 12.5.1); the first of equal ones.

    Args:
        accept: The Accept header; None accepts everything.
        offered: The media types to choose from.

    Raises:
        NotAcceptableError: The header accepts none of them.
    """
    wanted = _parse_accept(accept or "*/*")
    best = max(offered, key=lambda kind: _weight_of(kind, wanted))
    if _weight_of(best, wanted) <= 0:
        raise NotAcceptableError(f"The request accepts only {accept}.")
    return best


def _parse_accept(accept: str) -> dict[str, float]:
    ranges = {}
    for part in accept.lower().split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        weights = [text[2:] for text in parameters if text.startswith("q=")]
        ranges[kind] = _parse_weight(weights[0]) if weights else 1.0
    return ranges


def _parse_weight(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0


def _weight_of(kind: str, wanted: Mapping[str, float]) -> float:
    """A media type's weight: that of the most specific range that matches it."""
    group = f"{kind.partition('/')[0]}/*"
    return next((wanted[name] for name in (kind, group, "*/*") if name in wanted), 0.0)


def convert_image(
    data: bytes,
    kind: FileFormat,
    limits: DecodeLimits,
    *,
    quality: int = DEFAULT_QUALITY,
    lossless: bool = False,
) -> bytes:
    """Convert an image file to another format, with its infotext and a record that describes the new file.

    Args:
        data: A PNG, JPEG or WebP file.
        kind: The target format; a file of that format is returned unchanged.
        limits: The decoding limits.
        quality: Quality of JPEG and lossy WebP, 1 to 100.
        lossless: Whether WebP keeps every pixel.
    """
    if detect_format(data).lower() == kind:
        return data
    found = read_header(data, limits=limits)
    if encode_memory((found.width, found.height), kind) > SUBPROCESS_BYTES:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as child:
            return child.submit(convert_inline, data, kind, limits, quality, lossless).result()
    return convert_inline(data, kind, limits, quality, lossless)


def convert_inline(
    data: bytes, kind: FileFormat, limits: DecodeLimits, quality: int, lossless: bool
) -> bytes:
    """Convert an image file in this process, whatever memory that takes."""
    file_metadata = read_metadata(data, limits=limits)
    file = FileRef(kind=kind, quality=None if kind == "png" or lossless else quality, lossless=lossless)
    metadata = Metadata(infotext=file_metadata.infotext, record=_record_with_file(file_metadata.record, file))
    image = decode(data, limits=limits).image
    return encode_image(image, kind, metadata, quality=quality, lossless=lossless)


def _record_with_file(record: str | None, file: FileRef) -> str | None:
    return (
        None
        if record is None
        else ReproductionRecord.parse(record).model_copy(update={"file": file}).to_json()
    )
