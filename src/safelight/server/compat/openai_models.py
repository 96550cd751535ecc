"""Checkpoints under the names that OpenAI's clients give as a model."""

from __future__ import annotations

from safelight.errors import CheckpointMissingError
from safelight.server.compat.checkpoints import Chosen, chosen
from safelight.settings import Settings

ANY = "*"
"""Stands in the setting for every name that is no checkpoint's."""
HINT = "The setting openai_models says which checkpoint a name of OpenAI's means."


def model_named(name: str | None, settings: Settings) -> Chosen:
    """The checkpoint that a client asks for: one of that name, otherwise the one that the setting says.

    Raises:
        CheckpointMissingError: There is none of that name, and the setting does not say what it means.
        ModelError: It cannot be used.
    """
    try:
        return chosen(name, settings)
    except CheckpointMissingError as error:
        meant = settings.openai_models.get(name or "", settings.openai_models.get(ANY))
        if meant is None:
            raise CheckpointMissingError(error.message, hint=f"{error.hint} {HINT}") from error
    return chosen(meant, settings)
