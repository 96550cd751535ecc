"""Translate exceptions of third-party decoders to our errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from safelight.errors import (
    ImageCorruptError,
    ImageError,
    ImageFormatError,
    ImageTooManyPixelsError,
    ImageTruncatedError,
)

_TRUNCATED = re.compile(
    r"truncat|end of (data|file)|\beof\b|not enough|insufficient|incomplete|requires a buffer|buffer is not large"
    r"|no more (images|data)|out of range",
    re.IGNORECASE,
)
_UNSUPPORTED = re.compile(r"unsupported|not yet supported|unknown pixel mode|cannot handle", re.IGNORECASE)


@contextmanager
def translate_decoder_errors(name: str) -> Iterator[None]:
    """Translate the exceptions of a third-party decoder; ``name`` is the format, for the message.

    Raises:
        ImageTruncatedError: The decoder ran out of data.
        ImageFormatError: The decoder does not support this variant of the format.
        ImageTooManyPixelsError: The decoder ran out of memory.
        ImageCorruptError: The decoder failed in any other way.
    """
    try:
        yield
    except ImageError:
        raise
    except Exception as error:  # decoders raise any exception on damaged files
        raise _to_image_error(name, error) from error


def _to_image_error(name: str, error: Exception) -> ImageError:
    message = f"{type(error).__name__}: {error}"[:200]
    if isinstance(error, MemoryError):
        return ImageTooManyPixelsError(f"The {name} picture does not fit into memory.")
    if isinstance(error, EOFError) or _TRUNCATED.search(message):
        return ImageTruncatedError(f"The {name} picture ends too early ({message}).")
    if _UNSUPPORTED.search(message):
        return ImageFormatError(f"This variant of {name} is not opened ({message}).")
    return ImageCorruptError(f"The {name} picture is damaged ({message}).")
