"""Checkpoints under the model names that OpenAI's clients send."""

from __future__ import annotations

import re
from typing import Literal

from safelight.errors import CheckpointMissingError
from safelight.server.api.checkpoint_names import SelectedCheckpoint, select_checkpoint
from safelight.settings import Settings

ANY_MODEL = "*"
"""In the setting, stands for every name that is no checkpoint."""
SETTING_HINT = "The setting openai_models says which checkpoint another name means."
_OPENAI_NAMES = re.compile(
    r"(?:(?P<checkpoint>dall-e|gpt-image|chatgpt-image)|(?P<classifier>omni-moderation|text-moderation))"
    r"-[A-Za-z0-9.\-]{1,100}"
)
"""Names of OpenAI's own models for images and moderation, which its clients send by default."""


def openai_model_kind(name: str) -> Literal["checkpoint", "classifier"] | None:
    """Whether a model name of OpenAI's means the server's default checkpoint or classifier; None for other names."""
    found = _OPENAI_NAMES.fullmatch(name)
    if found is None:
        return None
    return "checkpoint" if found["checkpoint"] else "classifier"


def resolve_model(name: str | None, settings: Settings) -> SelectedCheckpoint:
    """Resolve a model name: a checkpoint of that name, else the checkpoint that the setting maps it to.

    OpenAI's own model names mean the server's default checkpoint where the setting does not map them.

    Raises:
        CheckpointMissingError: There is no checkpoint of that name, and nothing maps it.
        ModelError: The checkpoint cannot be used.
    """
    try:
        return select_checkpoint(name, settings)
    except CheckpointMissingError as error:
        meant = settings.openai_models.get(name or "", settings.openai_models.get(ANY_MODEL))
        if meant is None and openai_model_kind(name or "") == "checkpoint":
            return select_checkpoint(None, settings)
        if meant is None:
            raise CheckpointMissingError(error.message, hint=f"{error.hint} {SETTING_HINT}") from error
    return select_checkpoint(meant, settings)
