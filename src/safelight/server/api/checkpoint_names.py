"""Checkpoints as clients name them: by name, title or hash, never by a path or a hub id."""

from __future__ import annotations

import re
from dataclasses import dataclass

from safelight.errors import SafelightError
from safelight.generation.solvers.samplers import PredictionProcess
from safelight.models.checkpoints.discovery import Checkpoint, find_checkpoint, find_checkpoints
from safelight.models.families.family import Family
from safelight.server.security.allowlist import check_checkpoint, default_checkpoint_name
from safelight.settings import Settings

_TITLE = re.compile(
    r"\[[0-9a-f]{10}\]$"
)  # the space before it is stripped: \s* here would take quadratic time
_HASH = re.compile(r"[0-9a-f]{10}|[0-9a-f]{64}")


@dataclass(frozen=True)
class ListedCheckpoint:
    """A checkpoint that clients may name.

    Args:
        name: Its public name.
        checkpoint: The checkpoint on disk.
        digest: SHA-256 of its weights; None where it was never computed.
        is_default: Whether it is the server's default checkpoint.
    """

    name: str
    checkpoint: Checkpoint
    digest: str | None
    is_default: bool

    @property
    def title(self) -> str:
        """Name and short hash, as A1111 shows them."""
        return checkpoint_title(self.name, self.digest)


@dataclass(frozen=True)
class SelectedCheckpoint:
    """The checkpoint of a request.

    Args:
        name: The name for the job; None for the server's default.
        family: Its family; None where only a worker can know it (the server's default, given by a hub id).
    """

    name: str | None
    family: Family | None

    @property
    def kind(self) -> PredictionProcess | None:
        """What the checkpoint predicts, as far as its family tells."""
        return PredictionProcess(self.family.prediction_process) if self.family else None


def list_checkpoints(settings: Settings) -> list[ListedCheckpoint]:
    """All checkpoints that clients may name, including the server's default."""
    found = {
        checkpoint.name: checkpoint
        for checkpoint in find_checkpoints(settings.home, folders=settings.current_model_folders)
    }
    own = _default_checkpoint(settings)
    if own is not None and own.name not in found:
        found = {default_checkpoint_name(settings): own, **found}
    return [
        ListedCheckpoint(
            name, each, each.cached_digest(settings.cache_folder), own is not None and each == own
        )
        for name, each in found.items()
    ]


def select_checkpoint(name: str | None, settings: Settings) -> SelectedCheckpoint:
    """Resolve the checkpoint of a request.

    Args:
        name: Its name, its title or its hash; the server's default when not given.
        settings: The data directory, and the server's default checkpoint.

    Raises:
        CheckpointMissingError: There is no checkpoint of that name.
        ModelError: It cannot be used.
    """
    plain = _TITLE.sub("", (name or "").strip()).rstrip()
    if plain in ("", default_checkpoint_name(settings)):
        own = _default_checkpoint(settings)
        return SelectedCheckpoint(None, own.family if own else None)
    if _HASH.fullmatch(plain):
        for each in list_checkpoints(settings):
            if each.digest is not None and each.digest.startswith(plain):
                return SelectedCheckpoint(None if each.is_default else each.name, each.checkpoint.family)
    known = check_checkpoint(plain, settings)
    return SelectedCheckpoint(
        known,
        find_checkpoint(
            known, settings.home, folders=settings.current_model_folders, allow_paths=False
        ).family,
    )


def title_and_digest(name: str | None, settings: Settings) -> tuple[str, str | None]:
    """The title of a checkpoint, and its digest where it is known; of the server's default without a name."""
    try:
        digest = find_checkpoint(
            name or settings.checkpoint, settings.home, folders=settings.current_model_folders
        ).cached_digest(settings.cache_folder)
    except SafelightError:  # deleted since it was selected, or a hub id
        digest = None
    plain = name or default_checkpoint_name(settings)
    return checkpoint_title(plain, digest), digest


def checkpoint_title(name: str, digest: str | None) -> str:
    """A checkpoint's title, as A1111 shows it."""
    return name if digest is None else f"{name} [{digest[:10]}]"


def _default_checkpoint(settings: Settings) -> Checkpoint | None:
    """The server's default checkpoint; None for a hub id or a broken one, which requests will report."""
    try:
        return find_checkpoint(settings.checkpoint, settings.home, folders=settings.current_model_folders)
    except SafelightError:
        return None
