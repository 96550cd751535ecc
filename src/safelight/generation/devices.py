"""Lookup of devices by name."""

from __future__ import annotations

import torch

from safelight.errors import BackendError


def find_device(name: str) -> torch.device:
    """The device with a name in torch's syntax; "auto" is the machine's accelerator, or else the CPU.

    Raises:
        BackendError: This machine does not have the device.
    """
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BackendError(f"The device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device
