"""Lookup of devices by name."""

from __future__ import annotations

import torch

from safelight.errors import BackendError
from safelight.runtime.memory_plan.device import (
    ACCELERATOR_SHARE,
    HOST_SHARE,
    DeviceMemory,
    host_memory,
)


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


def free_memory(device: torch.device) -> int:
    """Bytes that this process can still take on a device: what is free, and what torch keeps there without using it.

    Of devices that torch cannot tell it of, it is the host's memory.
    """
    if device.type != "cuda":
        return host_memory().free
    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


def device_memory(device: torch.device, budget: int, own: int = 0) -> DeviceMemory:
    """A device of this machine, and what of its memory networks and a picture may take now.

    Args:
        device: The device.
        budget: The setting memory_budget: bytes, or 0 for most of the memory.
        own: Bytes that networks in this process take already, which may be evicted.
    """
    host = host_memory()
    host_usable = int(min(HOST_SHARE * host.total, host.free + own))
    if device.type == "cpu":
        total, usable = host.total, host_usable
    elif device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        usable = int(min(ACCELERATOR_SHARE * total, free + own))
    else:  # Apple's GPUs share the host's memory; of others torch tells nothing
        total, usable = host.total, host_usable
    return DeviceMemory(device.type, total, min(budget, usable) if budget else usable, host_usable)
