"""Errors of running a network: backends and memory."""

from __future__ import annotations

from safelight.errors.base import InputError, SafelightError
from safelight.errors.generation import RequestError


class BackendError(InputError):
    """The backend or precision is not available for the network on this machine."""

    code = "backend.unavailable"
    summary = "The requested backend or precision cannot run this network here."
    default_hint = "safelight doctor lists what this machine can run; auto lets a probe choose."
    http_status = 501


class PrecisionError(BackendError):
    """The family computes wrong pictures in the precision of the settings, or the device cannot compute in it."""

    code = "precision.unfit"
    summary = "The precision of the settings does not fit the checkpoint's family or the device."
    default_hint = "With auto each component runs in the precision that its family was published for."
    http_status = 422


class DeviceBrokenError(SafelightError):
    """The device failed while it computed; it cannot be used again by this process."""

    code = "device.broken"
    summary = "The device failed while it computed."
    default_hint = (
        "A server starts its worker anew. With the setting device_fallback the CPU takes the device's place."
    )
    http_status = 503


class MemoryBudgetError(RequestError):
    """The picture or model needs more memory than the budget."""

    code = "memory.budget"
    summary = "This would need more memory than it may use."
    default_hint = "Ask for a smaller picture, or raise the setting memory_budget."
    http_status = 413


class MemoryExhaustedError(MemoryBudgetError):
    """The device ran out of memory while a picture was generated, and nothing is left to do about it."""

    code = "memory.exhausted"
    summary = "The memory ran out while a picture was generated."
    default_hint = (
        "Ask for a smaller picture, or close what else uses the memory; safelight plan shows what it takes."
    )
    http_status = 503
