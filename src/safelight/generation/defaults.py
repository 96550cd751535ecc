"""The defaults of checkpoints that the settings give, for fields that a request leaves open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safelight.generation.request import GenerationRequest, Mode
from safelight.settings import CheckpointDefaults, Settings

NO_DEFAULTS = CheckpointDefaults()


def checkpoint_defaults(checkpoint: str, settings: Settings) -> CheckpointDefaults:
    """The defaults of a checkpoint: those of its name, or of the last part of its path.

    Args:
        checkpoint: As a request or the setting ``checkpoint`` names it.
        settings: The settings with ``checkpoint_defaults``.
    """
    found = settings.checkpoint_defaults
    return found.get(checkpoint) or found.get(Path(checkpoint).name) or NO_DEFAULTS


def with_checkpoint_defaults(request: GenerationRequest, settings: Settings) -> GenerationRequest:
    """A request with the defaults of its checkpoint in place of open values.

    A request with an initial picture keeps its size open, and one with a sampler its schedule.
    """
    defaults = checkpoint_defaults(request.checkpoint or settings.checkpoint, settings)
    names = ["steps", "guidance_scale"]
    if request.mode is Mode.TEXT:
        names += ["width", "height"]
    if request.sampler is None:
        names += ["sampler", "schedule"]
    filled: dict[str, Any] = {
        name: value
        for name in names
        if getattr(request, name) is None and (value := getattr(defaults, name)) is not None
    }
    return request.model_copy(update=filled) if filled else request
