"""Detect a file's format by its first bytes, never by its name."""

from __future__ import annotations

import re

from safelight.errors import ImageEmptyError, ImageFormatError, ImageNotRecognisedError

SUPPORTED_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")

# Patterns of the first bytes, and the formats' names. The first match decides.
_MAGIC = tuple(
    (re.compile(pattern, re.DOTALL), name)
    for pattern, name in (
        (rb"\xff\xd8\xff", "JPEG"),
        (rb"\x89PNG\r\n\x1a\n", "PNG"),
        (rb"RIFF....WEBP", "WEBP"),
        (rb"GIF8[79]a", "GIF"),
        # many texts begin with "BM", so the size of the header that follows must be one of BMP's
        (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", "BMP"),
        (rb"II\*\0.{4}CR\x02", "Canon raw (CR2)"),
        (rb"II\*\0|MM\0\*|II\+\0\x08\0\0\0|MM\0\+\0\x08\0\0", "TIFF"),
        (rb"8BPS", "Photoshop (PSD)"),
        (rb"%PDF-", "PDF"),
        (rb"%!PS|\xc5\xd0\xd3\xc6", "EPS"),
        # possessive quantifiers prevent backtracking over comments
        (
            rb"(?:\xef\xbb\xbf)?+\s*+(?:<\?xml[^>]*+>\s*+)?+(?:<!--(?:(?!-->).)*+-->\s*+)*+(?:<!DOCTYPE svg|<svg\b)",
            "SVG",
        ),
        (rb"\0\0\x01\0[^\0]\0", "Windows icon (ICO)"),
        (rb"\0\0\x02\0[^\0]\0", "Windows cursor (CUR)"),
        (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "JPEG 2000"),
        (rb"SIMPLE  =", "FITS"),
        (rb"DDS ", "DDS"),
        (rb"v/1\x01", "OpenEXR"),
        (rb"#\?(RADIANCE|RGBE)", "Radiance HDR"),
        (rb"qoif", "QOI"),
        (rb"icns", "Apple icon (ICNS)"),
        (rb"P[1-7]\s", "PNM"),
        (rb"\x0a[\0\x02-\x05]\x01[\x01\x02\x04\x08]", "PCX"),
        (rb"\xd7\xcd\xc6\x9a", "Windows metafile (WMF)"),
        (rb"\x01\0\0\0.{36} EMF", "Windows metafile (EMF)"),
        (rb"\x8aMNG\r\n\x1a\n", "MNG"),
        (rb"\x8bJNG\r\n\x1a\n", "JNG"),
        (rb"gimp xcf", "GIMP (XCF)"),
        (rb"FLIF", "FLIF"),
        (rb"BPG\xfb", "BPG"),
        (rb"AT&TFORM", "DjVu"),
        (rb"\x59\xa6\x6a\x95", "Sun raster"),
        (rb"/\* XPM \*/", "XPM"),
        (rb"\x01\xda[\0\x01][\x01\x02]", "SGI"),
        (rb"FUJIFILMCCD-RAW|IIU\0|IIR[OS]", "camera raw"),
        (rb"RIFF....AVI ", "AVI video"),
        (rb"\x1aE\xdf\xa3", "Matroska or WebM video"),
    )
)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"heif")
_AVIF_BRANDS = (b"avif", b"avis")
_PREFIX_BYTES = 1024


def detect_format(data: bytes) -> str:
    """Detect the format, one of `SUPPORTED_FORMATS`.

    Raises:
        ImageEmptyError: There are no bytes.
        ImageFormatError: The format is known but not supported; the message names it.
        ImageNotRecognisedError: The bytes are not those of any known picture format.
    """
    if not data:
        raise ImageEmptyError
    name = _match_magic(data[:_PREFIX_BYTES])
    if name is None:
        raise ImageNotRecognisedError
    if name not in SUPPORTED_FORMATS:
        raise ImageFormatError(f"The content is {name}, which is not opened.")
    return name


def is_image(prefix: bytes) -> bool:
    """Whether a file's first bytes (64 are enough) are those of a supported format."""
    return _match_magic(bytes(prefix[:_PREFIX_BYTES])) in SUPPORTED_FORMATS


def _match_magic(head: bytes) -> str | None:
    if head[4:8] == b"ftyp":
        return _container_format(head)
    return next((name for pattern, name in _MAGIC if pattern.match(head)), None)


def _container_format(head: bytes) -> str:
    """The format of a file in MP4's container, by its brands, the major brand first."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))]
    for brand in brands:
        if brand in _AVIF_BRANDS:
            return "AVIF"
        if brand in _HEIF_BRANDS:
            return "HEIF"
    return (
        "Canon raw (CR3)" if brands[0] == b"crx " else f"{brands[0].decode('latin-1').strip()!r} (MP4 family)"
    )
