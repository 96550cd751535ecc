"""Checkpoints under the names that OpenAI's clients give as a model."""

from __future__ import annotations

import re
from typing import Literal

from safelight.errors import CheckpointMissingError
from safelight.server.compat.checkpoints import Chosen, chosen
from safelight.settings import Settings

ANY = "*"
"""Stands in the setting for every name that is no checkpoint's."""
HINT = "The setting openai_models says which checkpoint another name means."
_OPENAIS = re.compile(
    r"(?:(?P<checkpoint>dall-e|gpt-image|chatgpt-image)|(?P<classifier>omni-moderation|text-moderation))"
    r"-[A-Za-z0-9.\-]{1,100}"
)
"""Names of OpenAI's own models for pictures and for moderation, which its clients send without being asked."""


def openais_own(name: str) -> Literal["checkpoint", "classifier"] | None:
    """Whether a name of OpenAI's models stands for the server's own checkpoint or classifier; None for other names."""
    found = _OPENAIS.fullmatch(name)
    if found is None:
        return None
    return "checkpoint" if found["checkpoint"] else "classifier"


def model_named(name: str | None, settings: Settings) -> Chosen:
    """The checkpoint that a client asks for: one of that name, else the one that the setting says.

    OpenAI's own names of models mean the server's own checkpoint where the setting says nothing of them.

    Raises:
        CheckpointMissingError: There is none of that name, and nothing says what it means.
        ModelError: It cannot be used.
    """
    try:
        return chosen(name, settings)
    except CheckpointMissingError as error:
        meant = settings.openai_models.get(name or "", settings.openai_models.get(ANY))
        if meant is None and openais_own(name or "") == "checkpoint":
            return chosen(None, settings)
        if meant is None:
            raise CheckpointMissingError(error.message, hint=f"{error.hint} {HINT}") from error
    return chosen(meant, settings)
