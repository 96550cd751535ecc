"""What callers may name: only what the server lists, never a path or a hub id."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safelight.errors import CheckpointMissingError, ClassifierUnknownError, UpscalerUnknownError
from safelight.generation.upscaling.finding import find_upscalers
from safelight.models.checkpoints import resolve
from safelight.models.store import ModelStore
from safelight.moderation import open_nsfw
from safelight.settings import Settings

LISTED = "GET /v1/models lists what can be named; paths and hub ids are not taken from callers."
LATENT = "latent"
"""The second pass's own way to enlarge, which is no upscaler."""


def own_name(settings: Settings) -> str:
    """What the setting's checkpoint is called before callers, who need not know in which folder it lies."""
    return without_folder(settings.checkpoint)


def without_folder(checkpoint: str) -> str:
    """A checkpoint's name, or the last part of the path where it is one."""
    return Path(checkpoint).name if checkpoint.startswith((".", "/", "~")) else checkpoint


def with_known_names(fields: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """A request's fields, once it is sure that they name only what the server lists.

    Raises:
        CheckpointMissingError, UpscalerUnknownError: They name something else.
        ModelError: The checkpoint of that name cannot be used.
    """
    known, own = dict(fields), own_name(settings)
    if known.get("checkpoint") not in (None, own):
        known["checkpoint"] = check_checkpoint(known["checkpoint"], settings.home)
    if known.get("checkpoint") == own:
        del known["checkpoint"]
    second = known.get("hires") or {}
    for upscaler in (known.get("upscaler"), second.get("upscaler", LATENT)):
        if upscaler not in (None, LATENT):
            check_upscaler(upscaler, settings.home)
    return known


def check_checkpoint(name: str, home: Path) -> str:
    """See that a checkpoint is one of the data directory's, or the starter.

    Returns:
        What it is called here: with and without its suffix it is the same one.

    Raises:
        CheckpointMissingError: It is not.
        ModelError: It is, and cannot be used.
    """
    try:
        return resolve(name, home, paths=False).name
    except CheckpointMissingError as error:
        near = error.hint if error.hint.startswith("Did you mean") else ""
        raise CheckpointMissingError(
            f"There is no checkpoint {name!r} on this server.", hint=f"{near} {LISTED}".strip()
        ) from error


def check_upscaler(name: str, home: Path) -> None:
    """See that an upscaler is one of those that are listed.

    Raises:
        UpscalerUnknownError: It is not.
    """
    known = [info.name for info in find_upscalers(home)]
    if name not in known:
        raise UpscalerUnknownError(
            f"There is no upscaler {name!r} on this server.", hint=f"Known are {', '.join(known)}."
        )


def check_classifier(name: str, settings: Settings) -> None:
    """See that a classifier is the embedded one or was pulled.

    Raises:
        ClassifierUnknownError: It is neither.
    """
    if name != open_nsfw.NAME and not ModelStore(settings.models).has(name):
        raise ClassifierUnknownError(f"There is no classifier {name!r} on this server.", hint=LISTED)
