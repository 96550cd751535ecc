"""Checkpoints as clients name them: by name, title or hash, never by a path or a hub id."""

from __future__ import annotations

import re
from dataclasses import dataclass

from safelight.errors import SafelightError
from safelight.generation.samplers import Kind
from safelight.models.checkpoints import Checkpoint, find_checkpoints, resolve
from safelight.models.family import Family
from safelight.server.names import check_checkpoint, own_name
from safelight.settings import Settings

_TITLE = re.compile(
    r"\[[0-9a-f]{10}\]$"
)  # the space before it is stripped: \s* here would take quadratic time
_HASH = re.compile(r"[0-9a-f]{10}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Listed:
    """A checkpoint that clients may name.

    Args:
        name: Its public name.
        checkpoint: The checkpoint on disk.
        digest: SHA-256 of its weights; None where it was never computed.
        own: Whether it is the server's default checkpoint.
    """

    name: str
    checkpoint: Checkpoint
    digest: str | None
    own: bool

    @property
    def title(self) -> str:
        """Name and short hash, as A1111 shows them."""
        return title(self.name, self.digest)


@dataclass(frozen=True)
class Chosen:
    """The checkpoint of a request.

    Args:
        name: The name for the job; None for the server's default.
        family: Its family; None where only a worker can know it (the server's default, given by a hub id).
    """

    name: str | None
    family: Family | None

    @property
    def kind(self) -> Kind | None:
        """What the checkpoint predicts, as far as its family tells."""
        return Kind(self.family.kind) if self.family else None


def listed(settings: Settings) -> list[Listed]:
    """All checkpoints that clients may name, including the server's default."""
    found = {checkpoint.name: checkpoint for checkpoint in find_checkpoints(settings.home)}
    own = _own(settings)
    if own is not None and own.name not in found:
        found = {own_name(settings): own, **found}
    return [
        Listed(name, each, each.known_digest(settings.cache), own is not None and each == own)
        for name, each in found.items()
    ]


def chosen(name: str | None, settings: Settings) -> Chosen:
    """Resolve the checkpoint of a request.

    Args:
        name: Its name, its title or its hash; the server's default when not given.
        settings: The data directory, and the server's default checkpoint.

    Raises:
        CheckpointMissingError: There is no checkpoint of that name.
        ModelError: It cannot be used.
    """
    plain = _TITLE.sub("", (name or "").strip()).rstrip()
    if plain in ("", own_name(settings)):
        own = _own(settings)
        return Chosen(None, own.family if own else None)
    if _HASH.fullmatch(plain):
        for each in listed(settings):
            if each.digest is not None and each.digest.startswith(plain):
                return Chosen(None if each.own else each.name, each.checkpoint.family)
    known = check_checkpoint(plain, settings.home)
    return Chosen(known, resolve(known, settings.home, paths=False).family)


def shown(name: str | None, settings: Settings) -> tuple[str, str | None]:
    """The title of a checkpoint, and its digest where it is known; of the server's default without a name."""
    try:
        digest = resolve(name or settings.checkpoint, settings.home).known_digest(settings.cache)
    except SafelightError:  # deleted since it was selected, or a hub id
        digest = None
    plain = name or own_name(settings)
    return title(plain, digest), digest


def title(name: str, digest: str | None) -> str:
    """A checkpoint's title, as A1111 shows it."""
    return name if digest is None else f"{name} [{digest[:10]}]"


def _own(settings: Settings) -> Checkpoint | None:
    """The server's default checkpoint; None for a hub id or a broken one, which requests will report."""
    try:
        return resolve(settings.checkpoint, settings.home)
    except SafelightError:
        return None
