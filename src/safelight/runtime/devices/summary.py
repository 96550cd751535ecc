"""What is told of devices: names, what they compute, what they are used for, and their memory."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from safelight.runtime.devices import present_devices
from safelight.runtime.devices.placement import ComponentDevices, is_same

if TYPE_CHECKING:
    from safelight.runtime.devices.device import Device


@dataclass(frozen=True)
class DeviceSummary:
    """A device of this machine.

    Args:
        name: As torch names it.
        title: Its product name.
        precisions: The precisions that it computes natively and right.
        details: What it has and how it is used, for people.
        used_for: What runs on it: denoiser, text_encoders, vae.
        total: Bytes of its memory; None where it was not asked.
        free: Bytes of it that this process can still take; likewise.
    """

    name: str
    title: str
    precisions: tuple[str, ...]
    details: str
    used_for: tuple[str, ...] = ()
    total: int | None = None
    free: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON output."""
        return asdict(self)

    def __str__(self) -> str:
        """A line about it."""
        memory = ""
        if self.total is not None and self.free is not None:
            memory = f", {self.free / 1e9:.1f} GB of {self.total / 1e9:.1f} GB free"
        return f"{self.title}, {', '.join(self.precisions)}{memory}; {self.details}"


def summarize_devices(devices: ComponentDevices, *, all_memory: bool = False) -> list[DeviceSummary]:
    """The devices of this machine, the CPU first.

    Args:
        devices: What is used.
        all_memory: Also ask devices that nothing runs on for their memory, for which drivers may take some of it.
    """
    found = []
    for device in present_devices():
        used = next((groups for each, groups in devices.uses if is_same(each, device.torch_device)), ())
        found.append(_summarize(device, used, with_memory=all_memory or bool(used)))
    return found


def _summarize(device: Device, used_for: tuple[str, ...], *, with_memory: bool) -> DeviceSummary:
    memory = device.memory() if with_memory else None
    return DeviceSummary(
        str(device.torch_device),
        device.title,
        ("fp32", *sorted(device.halves)),
        device.details,
        used_for,
        None if memory is None else memory.total,
        None if memory is None else memory.free,
    )
