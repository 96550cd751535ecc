"""Pictures that come within requests as text: base64, data URIs and, where that is allowed, addresses."""

from __future__ import annotations

import asyncio
import binascii
import re
from collections.abc import Iterator

from safelight.errors import ImageTooManyBytesError, PictureTextError, PictureUrlError
from safelight.images.decode import inspect
from safelight.images.picture import DecodeLimits
from safelight.server.fetching import fetched
from safelight.server.picture_threads import Cost
from safelight.server.threads import Threads
from safelight.settings import Settings

MOST_ADDRESSES = 8
"""How many pictures of one request are fetched."""
_DATA_URI = re.compile(r"data:[^,;]{0,100}(?:;[^,;]{0,100}){0,4},", re.ASCII | re.IGNORECASE)
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_SPACE = b" \t\r\n"
_PIECE = 1 << 20
"""Characters that are decoded at a time: other threads have no turn meanwhile."""


class Intake:
    """Takes in the pictures of one request.

    Args:
        settings: With the limits ``max_bytes``, ``max_pixels`` and ``max_request_bytes``.
        threads: Read pictures and look names up.
        turns: How many pictures are fetched at the same time, over all requests.
    """

    def __init__(self, settings: Settings, threads: Threads, turns: asyncio.Semaphore) -> None:
        self._settings, self._threads, self._turns = settings, threads, turns
        self._limits = DecodeLimits.of(settings)
        self._addresses, self._bytes = MOST_ADDRESSES, settings.max_request_bytes

    async def picture(self, given: str | bytes) -> bytes:
        """The bytes of a picture's file, whose header says that it can be decoded within the limits.

        Args:
            given: The file, as it is, in base64 or as a data URI; or its http(s) address, where ``allow_image_urls``
                is set.

        Raises:
            PictureTextError: It is none of these.
            PictureUrlError: Nothing is fetched from this address, or not so much for one request.
            ImageError: It is no picture, or larger than the limits by its header's own word.
        """
        if isinstance(given, bytes):
            data = given
        elif _ADDRESS.match(given):
            data = await self._fetched(given)
        else:
            cost = Cost(memory=2 * len(given))
            data = await self._threads.pixels(cost, from_base64, given, self._limits.max_bytes)
        await self._threads.picture(inspect, data, self._limits)
        return data

    async def _fetched(self, address: str) -> bytes:
        """What lies at an address; all of a request's addresses share its bound, as if the pictures lay within it."""
        if not self._settings.allow_image_urls:
            raise PictureUrlError(
                "This server fetches no pictures.",
                hint="Send the picture itself, in base64; an administrator can set allow_image_urls.",
            )
        if self._addresses == 0:
            raise PictureUrlError(f"A request may name {MOST_ADDRESSES} pictures by their address.")
        self._addresses -= 1
        async with self._turns:
            data = await fetched(address, min(self._limits.max_bytes, self._bytes), self._threads)
        self._bytes -= len(data)
        return data


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
        data = b"".join(_decoded(body))
    except (binascii.Error, ValueError) as error:
        raise PictureTextError(f"The text is no base64: {error}.") from error
    if not data:
        raise PictureTextError("The text is empty.")
    if len(data) > max_bytes:
        raise _too_many(max_bytes)
    return data


def _decoded(body: str) -> Iterator[bytes]:
    rest, padded = b"", False
    for at in range(0, len(body), _PIECE):
        part = rest + body[at : at + _PIECE].encode("ascii").translate(None, _SPACE)
        if padded and part:
            raise ValueError("Excess data after padding")
        whole = len(part) - len(part) % 4
        rest, padded = part[whole:], part[:whole].endswith(b"=")
        yield binascii.a2b_base64(part[:whole], strict_mode=True)
    if rest:
        yield binascii.a2b_base64(rest, strict_mode=True)


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
