"""Who somebody is to the server, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What somebody may do."""

    USER = "user"
    """Submit, and see and change what is their own."""
    ADMIN = "admin"
    """Everything."""


@dataclass(frozen=True)
class Caller:
    """Somebody who makes requests.

    Args:
        owner: Whose jobs and pictures they are: the key's name, or local without keys.
        role: What they may do.
        key_id: Of the key they came with; None without keys.
    """

    owner: str
    role: Role
    key_id: str | None = None

    @property
    def scope(self) -> str | None:
        """Whose jobs and pictures they see: their own, or with None everybody's."""
        return None if self.role is Role.ADMIN else self.owner


LOCAL = Caller("local", Role.ADMIN)
"""Who makes requests to a server without keys: it listens on loopback only, so they have this machine anyway."""
