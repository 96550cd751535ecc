"""Devices: what torch computes on, each kind a small class behind one protocol (``device.Device``).

Nothing here imports torch until a device is asked for.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from safelight.errors import BackendError
from safelight.plugins import Registry

if TYPE_CHECKING:
    import torch

    from safelight.runtime.devices.device import Device
    from safelight.runtime.devices.placement import ComponentDevices
    from safelight.settings import Settings

CPU, AUTO = "cpu", "auto"


@dataclass(frozen=True)
class DeviceKind:
    """A kind of devices.

    Args:
        name: Its name in settings, where a colon and a number may follow: cpu, cuda, rocm, xpu, mps …
        title: Its name for people.
        implementation: Module and class of its ``device.Device``, as in "package.module:Class"; imported when one is
            asked for.
        torch_type: The type of device that torch has for it.
        fused_attention: Whether torch has a fused kernel of attention for it.
    """

    name: str
    title: str
    implementation: str
    torch_type: str
    fused_attention: bool = False

    def load(self) -> type[Device]:
        """The class of its devices."""
        found: type[Device] = resolve_name(self.implementation)
        return found


DEVICES = Registry[DeviceKind](
    "device", "register_devices", BackendError, ("safelight.runtime.devices.builtin",), name_field="name"
)
"""Every kind of devices by name."""


def find_device(name: str) -> Device:
    """The device with a name, as settings have it; "auto" is the machine's accelerator, or else the CPU.

    Raises:
        BackendError: There is no such kind of devices, or this machine does not have the device, or it is broken.
    """
    import torch

    if name == AUTO:
        found = torch.accelerator.current_accelerator(check_available=True)
        return device_of(_numbered(found or torch.device(CPU)))
    kind, _, number = name.partition(":")
    found = DEVICES[kind].load()
    if not found.is_built():
        raise _unusable(name, f"this build of torch does not compute on {DEVICES[kind].title}s")
    try:
        device = found(_numbered(found.named(number).torch_device))
        device.synchronize()
    except (RuntimeError, AssertionError, ValueError) as error:
        raise _unusable(name, str(error).splitlines()[0].split(". ")[0].rstrip(".")) from error
    return device


def resolve_devices(settings: Settings, device: torch.device) -> ComponentDevices:
    """Where the components of checkpoints are.

    Args:
        settings: The devices of text encoders and autoencoder.
        device: That of the denoiser.

    Raises:
        BackendError: This machine does not have one of them.
    """
    from safelight.runtime.devices.placement import ComponentDevices

    names = settings.text_encoder_device, settings.vae_device
    apart = (settle_device(settings, name)[0].torch_device if name else device for name in names)
    return ComponentDevices(device, *apart)


def settle_device(settings: Settings, name: str) -> tuple[Device, str]:
    """The device with a name, or the CPU where it cannot be used and the setting device_fallback permits that.

    Returns:
        The device, and a sentence on why it is another one; empty where it is not.

    Raises:
        BackendError: It cannot be used, and nothing may take its place.
    """
    try:
        return find_device(name), ""
    except BackendError as error:
        if not settings.device_fallback:
            raise
        note = f"{error.message} The CPU takes its place, as the setting device_fallback permits."
        return find_device(CPU), note


def fallback_notes(settings: Settings) -> tuple[str, ...]:
    """A sentence on each device of the settings whose place the CPU takes.

    Raises:
        BackendError: As in ``settle_device``.
    """
    names = dict.fromkeys((settings.device, settings.text_encoder_device, settings.vae_device))
    return tuple(note for name in names if name for note in [settle_device(settings, name)[1]] if note)


def is_here(name: str) -> bool:
    """Whether this machine has a device that works."""
    try:
        find_device(name)
    except BackendError:
        return False
    return True


def _numbered(device: torch.device) -> torch.device:
    """A device with its number, as the tensors on it have it: cuda is cuda:0. Records of pictures name it so too."""
    import torch

    return torch.empty(1, device=device).device


def _unusable(name: str, reason: str) -> BackendError:
    names = ", ".join(str(device.torch_device) for device in present_devices())
    return BackendError(f"The device {name!r} cannot be used: {reason}.", hint=f"This machine has {names}.")


def device_of(device: torch.device) -> Device:
    """What is known of one of torch's devices; it need not be in this machine.

    Raises:
        BackendError: There is no such kind of devices.
    """
    for kind in DEVICES.values():
        if kind.torch_type == device.type and (found := kind.load()).is_built():
            return found(device)
    raise BackendError(f"There is no kind of devices for torch's {device.type}.")


def present_devices() -> list[Device]:
    """The devices of this machine, the CPU first."""
    found = []
    for kind in DEVICES.values():
        implementation = kind.load()
        if implementation.is_built():
            found += [implementation(device) for device in implementation.present()]
    return found


def release_cached_memory() -> None:
    """Give back what torch keeps of freed memory on the accelerator of this process, if it has used one."""
    torch = sys.modules.get("torch")  # processes that only classify don't import it
    if torch is None:
        return
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is not None:
        device_of(accelerator).empty_cache()
