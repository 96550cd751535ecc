"""A device that fails while it computes: how torch reports it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from safelight.errors import DeviceBrokenError


@contextmanager
def broken_device_errors(device: torch.device) -> Iterator[None]:
    """Turn the failure of an accelerator into our error.

    Raises:
        DeviceBrokenError: It failed. What is computed on it in this process from now on fails too.
    """
    try:
        yield
    except torch.AcceleratorError as error:
        first = str(error).splitlines()[0].rstrip(".")
        raise DeviceBrokenError(f"The device {device} failed: {first}.") from error
