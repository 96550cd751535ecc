"""Errors of running a network: backends and memory."""

from __future__ import annotations

from safelight.errors.base import InputError
from safelight.errors.generation import RequestError


class BackendError(InputError):
    """A backend or precision that this machine or this network cannot give."""

    code = "backend.unavailable"
    summary = "The backend or precision that was asked for cannot run this network here."
    default_hint = "safelight doctor lists what this machine can run; auto lets a probe choose."
    http_status = 501


class MemoryBudgetError(RequestError):
    """A picture or model larger than the memory it may use."""

    code = "memory.budget"
    summary = "This would need more memory than it may use."
    default_hint = "Ask for a smaller picture, or raise the setting memory_budget."
    http_status = 413
