"""Safelight: a local image studio that makes pictures and judges pictures.

>>> import safelight
>>> studio = safelight.Studio()
>>> picture = studio.generate("a red apple, 3d style", seed=7)[0]
>>> verdict = studio.moderate("upload.jpg")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safelight.telemetry_off import turn_off_telemetry

if TYPE_CHECKING:
    from safelight.generation.request import GenerationRequest
    from safelight.moderation import Decision, Policy, Verdict
    from safelight.settings import Settings
    from safelight.studio import Picture, Studio

__version__ = "0.1.0"
__all__ = [
    "Decision",
    "GenerationRequest",
    "Picture",
    "Policy",
    "Settings",
    "Studio",
    "Verdict",
    "__version__",
]

_HOME = {
    "Decision": "safelight.moderation",
    "GenerationRequest": "safelight.generation.request",
    "Picture": "safelight.studio",
    "Policy": "safelight.moderation",
    "Settings": "safelight.settings",
    "Studio": "safelight.studio",
    "Verdict": "safelight.moderation",
}


turn_off_telemetry()


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that ``import safelight`` takes a millisecond."""
    if name not in _HOME:
        raise AttributeError(f"module 'safelight' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
