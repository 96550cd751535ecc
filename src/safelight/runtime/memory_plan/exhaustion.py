"""Lack of memory: how torch and Python report it, and when little is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from safelight.errors import MemoryExhaustedError
from safelight.runtime.memory_plan.device import host_memory

_MESSAGES = ("not enough memory", "can't allocate memory", "out of memory", "cannot allocate memory")
"""Parts of the messages of torch's allocators for CPUs and other devices, which raise a RuntimeError."""
SHORT = 256 * 2**20
"""Bytes of free memory below which the next allocation may fail."""


@contextmanager
def exhaustion_errors(device: torch.device) -> Iterator[None]:
    """Turn the lack of memory into our error.

    Raises:
        MemoryExhaustedError: The device or the host has no memory left.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise MemoryExhaustedError(f"The device {device} has no memory left.") from error
    except RuntimeError as error:
        if not any(part in str(error).lower() for part in _MESSAGES):
            raise
        raise MemoryExhaustedError(f"The device {device} has no memory left.") from error


def is_short(device: torch.device) -> bool:
    """Whether so little memory is free that the next allocation may fail."""
    if device.type == "cuda":
        free = int(torch.cuda.mem_get_info(device)[0])
        cached = int(torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
        return free + cached < SHORT
    return host_memory().free < SHORT
