"""Which type a caller gets, and pictures in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from safelight.errors import NotAcceptableError
from safelight.file_formats import FileFormat
from safelight.generation.record import FileRef, ReproductionRecord
from safelight.images import DecodeLimits, decode
from safelight.images.cost import encode_bytes
from safelight.images.decode import header
from safelight.images.encode import encode_picture
from safelight.images.metadata import Metadata, read_metadata
from safelight.images.sniff import sniff

JSON = "application/json"
PICTURES: Mapping[str, FileFormat] = {"image/png": "png", "image/webp": "webp", "image/jpeg": "jpeg"}
OFFERED = (JSON, *PICTURES)
QUALITY = 95
APART = 200 * 10**6
"""What takes more bytes to write is written by a child: WebP takes ten times as much as the picture itself."""


def media_type(kind: FileFormat) -> str:
    """The media type of a picture file."""
    return f"image/{kind}"


def negotiated(accept: str | None, offered: Sequence[str] = OFFERED) -> str:
    """The type that a caller likes best (RFC 9110, 12.5.1); of equals the first.

    Args:
        accept: The header; nothing accepts everything.
        offered: Media types.

    Raises:
        NotAcceptableError: None of them is accepted.
    """
    wanted = _ranges(accept or "*/*")
    best = max(offered, key=lambda kind: _liking(kind, wanted))
    if _liking(best, wanted) <= 0:
        raise NotAcceptableError(f"The request accepts only {accept}.")
    return best


def _ranges(accept: str) -> dict[str, float]:
    ranges = {}
    for part in accept.lower().split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        weights = [text[2:] for text in parameters if text.startswith("q=")]
        ranges[kind] = _weight(weights[0]) if weights else 1.0
    return ranges


def _weight(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0


def _liking(kind: str, wanted: Mapping[str, float]) -> float:
    """A type's weight: that of the most specific range it is in."""
    group = f"{kind.partition('/')[0]}/*"
    return next((wanted[name] for name in (kind, group, "*/*") if name in wanted), 0.0)


def in_format(
    data: bytes, kind: FileFormat, limits: DecodeLimits, *, quality: int = QUALITY, lossless: bool = False
) -> bytes:
    """A picture file in another format, with its infotext and a record that tells of the new file.

    Args:
        data: PNG, JPEG or WebP.
        kind: What is wanted; the same gives the same bytes.
        limits: How large it may be.
        quality: Of JPEG and lossy WebP, 1 to 100.
        lossless: WebP keeps every pixel.
    """
    if sniff(data).lower() == kind:
        return data
    found = header(data, limits=limits)
    if encode_bytes((found.width, found.height), kind) > APART:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as child:
            return child.submit(converted, data, kind, limits, quality, lossless).result()
    return converted(data, kind, limits, quality, lossless)


def converted(data: bytes, kind: FileFormat, limits: DecodeLimits, quality: int, lossless: bool) -> bytes:
    """The same, in this process, whatever it takes."""
    told = read_metadata(data, limits=limits)
    file = FileRef(kind=kind, quality=None if kind == "png" or lossless else quality, lossless=lossless)
    metadata = Metadata(parameters=told.parameters, record=_record_of(told.record, file))
    image = decode(data, limits=limits).image
    return encode_picture(image, kind, metadata, quality=quality, lossless=lossless)


def _record_of(record: str | None, file: FileRef) -> str | None:
    return (
        None
        if record is None
        else ReproductionRecord.parse(record).model_copy(update={"file": file}).to_json()
    )
