"""In which precision each component of a checkpoint runs: what settings, level, speed, family and device say."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import torch

from safelight.errors import PrecisionError
from safelight.generation.backend_choice import bf16_pays
from safelight.generation.quality import Quality, quality_settings
from safelight.models.families import Family
from safelight.models.families.precision import ComponentPrecisions, Precision
from safelight.runtime.devices import device_of
from safelight.runtime.devices.placement import ComponentDevices
from safelight.settings import Settings

if TYPE_CHECKING:
    from safelight.generation.record import Machine
    from safelight.runtime.compilation.speed import Speeds

AUTO = "auto"


def default_precision(settings: Settings, device: torch.device) -> str:
    """The precision of all denoisers; auto if each family has its own.

    Raises:
        PrecisionError: The device cannot compute in it.
    """
    wanted = settings.generation_precision
    if wanted == AUTO:
        return "fp32" if device_of(device).fp32_by_default else AUTO
    _check_device(wanted, device)
    return wanted


def settings_of_run(
    settings: Settings,
    quality: Quality | None,
    family: Family,
    device: str,
    speeds: Speeds | None,
    recorded: Machine | None = None,
) -> Settings:
    """The settings of a run: those of the program, with the precisions of its quality level on this machine.

    Args:
        settings: Those of the program; they are returned themselves where they need no change.
        quality: The level; that of the settings when not given.
        family: The checkpoint's family.
        device: The device that generates, as torch names it; it need not be in this machine.
        speeds: What was measured on this machine, None if nothing was yet.
        recorded: What a picture's record says that it ran on, to reproduce it.
    """
    found = torch.device(device)
    pays = bf16_pays(settings.generation_backend, family.denoiser, found, speeds)
    level = quality or settings.generation_quality
    return quality_settings(settings, level, family, found.type, recorded, bf16_pays=pays)


def resolve_precisions(
    settings: Settings,
    family: Family,
    device: torch.device | ComponentDevices,
    halves: Collection[str] | None = None,
) -> ComponentPrecisions:
    """The precision of each component of a family's checkpoints.

    Without a precision in the settings it is fp32 on CPUs, where a seed then gives the same bits everywhere; on
    accelerators it is the first of the family's precisions that the device computes, else fp32. The setting
    ``generation_precision`` is the denoiser's, and that of the other components as far as the family says that they
    compute right in it; ``text_encoder_precision`` and ``vae_precision`` are obeyed as they are.

    Args:
        settings: The three precisions.
        family: The family, whose table says what computes right.
        device: The device that generates, or that of each component.
        halves: ``Device.halves`` of all of them; found out when not given.

    Raises:
        PrecisionError: The denoiser computes wrong in the setting's precision, or the device cannot compute in it.
    """
    table, wanted = family.precision, settings.generation_precision
    devices = device if isinstance(device, ComponentDevices) else ComponentDevices.uniform(device)
    if wanted not in (AUTO, "fp32", *table.denoiser):
        right = " or ".join((*table.denoiser, "fp32"))
        raise PrecisionError(
            f"The {family.denoiser} of {family.title} computes wrong pictures in {wanted} ({table.source}).",
            hint=f"Set generation_precision to auto, or to {right}.",
        )

    def choose(on: torch.device, right: tuple[Precision, ...], own: str = AUTO) -> str:
        found = device_of(on)
        computed = found.halves if halves is None else halves
        if own == AUTO and wanted in (*right, "fp32"):
            own = wanted
        if own != AUTO:
            if own not in ("fp32", *computed):
                _check_device(own, on)
            return own
        if wanted == AUTO and found.fp32_by_default:
            return "fp32"
        return next((name for name in right if name == "fp32" or name in computed), "fp32")

    return ComponentPrecisions(
        denoiser=choose(devices.denoiser, table.denoiser),
        text_encoders=choose(devices.text_encoders, table.text_encoders, settings.text_encoder_precision),
        vae=choose(devices.vae, table.vae, settings.vae_precision),
        fp16_vae=choose(devices.vae, (*table.denoiser, "fp16"), settings.vae_precision),
    )


def other_precision(component: str, precision: str, family: Family, device: torch.device) -> str:
    """What to set after a component's result was not finite in a precision, as a sentence.

    Args:
        component: Its name in the pipeline.
        precision: In which it ran.
        family: Its family.
        device: The device that it ran on.
    """
    if precision == "fp32":
        return "It ran in fp32: check the checkpoint's file, its autoencoder, and whether a value is far too large."
    if component == "vae":
        setting, right = "vae_precision", family.precision.vae
    elif component.startswith("text_encoder"):
        setting, right = "text_encoder_precision", family.precision.text_encoders
    else:
        setting, right = "generation_precision", family.precision.denoiser
    halves = device_of(device).halves
    others = [name for name in right if name not in (precision, "fp32", "fp16") and name in halves]
    return f"Set {setting} to {' or '.join((*others, 'fp32'))}."


def _check_device(name: str, device: torch.device) -> None:
    if not device_of(device).holds(name):
        raise PrecisionError(
            f"The device {device} cannot compute in {name}.", hint="Set the precisions to auto, or to fp32."
        )
