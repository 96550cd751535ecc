"""Lack of memory: how torch and Python report it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOMEM

import torch

from safelight.errors import MemoryExhaustedError

_MESSAGES = ("not enough memory", "can't allocate memory", "out of memory", "cannot allocate memory")
"""Parts of the messages of torch's allocators for CPUs and other devices, which raise a RuntimeError."""


@contextmanager
def exhaustion_errors(device: torch.device) -> Iterator[None]:
    """Turn the lack of memory into our error.

    Raises:
        MemoryExhaustedError: The device or the host has no memory left.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        if not is_exhaustion(error):
            raise
        raise MemoryExhaustedError(f"The device {device} has no memory left.") from error


def is_exhaustion(error: Exception) -> bool:
    """Whether an error means that there is no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):  # a file that could not be mapped
        return error.errno == ENOMEM
    return isinstance(error, RuntimeError) and any(part in str(error).lower() for part in _MESSAGES)
