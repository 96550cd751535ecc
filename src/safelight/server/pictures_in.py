"""Pictures that come within requests as text: base64, data URIs and, where that is allowed, addresses."""

from __future__ import annotations

import asyncio
import binascii
import re

from safelight.errors import ImageTooManyBytesError, PictureTextError, PictureUrlError
from safelight.images.decode import inspect
from safelight.images.picture import DecodeLimits
from safelight.server.fetching import fetched
from safelight.settings import Settings

_DATA_URI = re.compile(r"data:[^,;]{0,100}(?:;[^,;]{0,100}){0,4},", re.ASCII | re.IGNORECASE)
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_SPACE = str.maketrans("", "", " \t\r\n")


async def picture_bytes(text: str, settings: Settings) -> bytes:
    """The bytes of a picture's file, whose header says that it can be decoded within the limits.

    Args:
        text: The file in base64, as it is or as a data URI; or its http(s) address, where ``allow_image_urls`` is set.
        settings: With the limits ``max_bytes`` and ``max_pixels``.

    Raises:
        PictureTextError: It is none of these.
        PictureUrlError: Nothing is fetched from this address.
        ImageError: It is no picture, or larger than the limits by its header's own word.
    """
    limits = limits_of(settings)
    if _ADDRESS.match(text):
        if not settings.allow_image_urls:
            raise PictureUrlError(
                "This server fetches no pictures.",
                hint="Send the picture itself, in base64; an administrator can set allow_image_urls.",
            )
        data = await fetched(text, limits.max_bytes)
    else:
        data = await asyncio.to_thread(from_base64, text, limits.max_bytes)
    await asyncio.to_thread(inspect, data, limits)
    return data


def limits_of(settings: Settings) -> DecodeLimits:
    """What pictures may cost, by the settings."""
    return DecodeLimits(settings.max_pixels, settings.max_bytes, settings.max_frames, settings.background)


def from_base64(text: str, max_bytes: int) -> bytes:
    """The bytes of base64 text or of a data URI.

    Raises:
        PictureTextError: It is neither.
        ImageTooManyBytesError: They would be more than the limit; found out before they are decoded.
    """
    body = _payload(text)
    if len(body) > max_bytes // 3 * 4 + 1024:  # some room for line ends
        raise _too_many(max_bytes)
    try:
        data = binascii.a2b_base64(body.translate(_SPACE), strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise PictureTextError(f"The text is no base64: {error}.") from error
    if not data:
        raise PictureTextError("The text is empty.")
    if len(data) > max_bytes:
        raise _too_many(max_bytes)
    return data


def _too_many(max_bytes: int) -> ImageTooManyBytesError:
    return ImageTooManyBytesError(f"The picture has more than {max_bytes} bytes.")


def _payload(text: str) -> str:
    """What follows the head of a data URI, or all of it."""
    if text[:5].lower() != "data:":
        return text
    head = _DATA_URI.match(text)
    if head is None or not head[0].lower().endswith(";base64,"):
        raise PictureTextError("The data URI is not one in base64.")
    return text[head.end() :]
