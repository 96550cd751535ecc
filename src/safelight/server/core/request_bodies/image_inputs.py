"""Decode the images of a request: bytes, base64, data URIs, pictures of the gallery and, if allowed, URLs."""

from __future__ import annotations

import asyncio
import binascii
import re
from collections.abc import Callable, Iterator

from safelight.errors import ImageEncodingError, ImageTooManyBytesError, ImageUrlError
from safelight.images.decoding import inspect_file
from safelight.images.types import DecodeLimits
from safelight.server.core.executors.image_executor import ImageCost
from safelight.server.core.executors.thread_pools import ThreadPools
from safelight.server.core.request_bodies.remote_images import fetch_image
from safelight.settings import Settings

MAX_URLS = 8
"""Maximum number of images that one request may name by URL."""
GALLERY_PREFIX = "gallery:"
"""In front of the id of a picture in the gallery, in requests that may name one."""
_DATA_URI = re.compile(r"data:[^,;]{0,100}(?:;[^,;]{0,100}){0,4},", re.ASCII | re.IGNORECASE)
_URL = re.compile(r"https?://", re.IGNORECASE)
_SPACE = b" \t\r\n"
_PIECE = 1 << 20
"""Characters to decode at a time: the decoder holds the interpreter lock meanwhile."""


class ImageInputs:
    """Decodes the images of one request.

    Args:
        settings: The settings with the limits ``max_bytes``, ``max_pixels`` and ``max_request_bytes``.
        threads: The thread pools, for reading images and resolving names.
        fetches: Limits the number of concurrent fetches over all requests.
        read_entry: Reads the picture file of a gallery entry by its id; None where requests may not name any.
    """

    def __init__(
        self,
        settings: Settings,
        threads: ThreadPools,
        fetches: asyncio.Semaphore,
        read_entry: Callable[[str], bytes] | None = None,
    ) -> None:
        self._settings, self._threads, self._fetches = settings, threads, fetches
        self._read_entry = read_entry
        self._limits = DecodeLimits.of(settings)
        self._urls_left, self._bytes_left = MAX_URLS, settings.max_request_bytes

    async def read(self, given: str | bytes) -> bytes:
        """The bytes of an image file whose header is within the limits.

        Args:
            given: The file as bytes, in base64 or as a data URI; ``gallery:`` and the id of an entry; or the file's
                http(s) URL, if ``allow_image_urls`` is set.

        Raises:
            ImageEncodingError: The text is none of these.
            ImageUrlError: The URL may not be fetched, or the request names too many.
            ImageError: The file is no image, or exceeds the limits by its header.
            EntryMissingError, BlockedError, EntryFileMissingError: There is no such entry, or no file of it.
        """
        if isinstance(given, bytes):
            data = given
        elif self._read_entry is not None and given.startswith(GALLERY_PREFIX):
            data = await self._read_from_gallery(self._read_entry, given.removeprefix(GALLERY_PREFIX))
        elif _URL.match(given):
            data = await self._fetch(given)
        else:
            cost = ImageCost(memory=2 * len(given))
            data = await self._threads.run_image(cost, decode_base64, given, self._limits.max_bytes)
        await self._threads.run_inspect(inspect_file, data, self._limits)
        return data

    async def _read_from_gallery(self, read_entry: Callable[[str], bytes], entry_id: str) -> bytes:
        """Read a picture of the gallery; all of a request share its size limit, as if they were in its body."""
        data = await asyncio.to_thread(read_entry, entry_id)
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise _too_large(self._settings.max_request_bytes)
        return data

    async def _fetch(self, url: str) -> bytes:
        """Fetch a URL; all URLs of a request share its size limit, as if their images were in its body."""
        if not self._settings.allow_image_urls:
            raise ImageUrlError(
                "This server fetches no pictures.",
                hint="Send the picture itself, in base64; an administrator can set allow_image_urls.",
            )
        if self._urls_left == 0:
            raise ImageUrlError(f"A request may name {MAX_URLS} pictures by their address.")
        self._urls_left -= 1
        async with self._fetches:
            data = await fetch_image(url, min(self._limits.max_bytes, self._bytes_left), self._threads)
        self._bytes_left -= len(data)
        return data


def decode_base64(text: str, max_bytes: int) -> bytes:
    """Decode base64 text or a data URI.

    Raises:
        ImageEncodingError: The text is neither.
        ImageTooManyBytesError: The bytes would exceed the limit; checked before decoding.
    """
    body = _payload(text)
    if len(body) > max_bytes // 3 * 4 + 1024:  # slack for line breaks
        raise _too_large(max_bytes)
    try:
        data = b"".join(_decode_pieces(body))
    except (binascii.Error, ValueError) as error:
        raise ImageEncodingError(f"The text is no base64: {error}.") from error
    if not data:
        raise ImageEncodingError("The text is empty.")
    if len(data) > max_bytes:
        raise _too_large(max_bytes)
    return data


def _decode_pieces(body: str) -> Iterator[bytes]:
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


def _too_large(max_bytes: int) -> ImageTooManyBytesError:
    return ImageTooManyBytesError(f"The picture has more than {max_bytes} bytes.")


def _payload(text: str) -> str:
    """The text after the prefix of a data URI, or all of a text that is none."""
    if text[:5].lower() != "data:":
        return text
    head = _DATA_URI.match(text)
    if head is None or not head[0].lower().endswith(";base64,"):
        raise ImageEncodingError("The data URI is not one in base64.")
    return text[head.end() :]
