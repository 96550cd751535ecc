"""The principal of a request: its owner name, role and key."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a principal may do."""

    USER = "user"
    """Submit jobs, and see and change their own."""
    ADMIN = "admin"
    """Everything."""


@dataclass(frozen=True)
class Principal:
    """The authenticated client of a request.

    Args:
        owner: The owner of the jobs and pictures that it makes: the key's name, or ``local`` without keys.
        role: What the principal may do.
        key_id: The id of its key; None without keys.
    """

    owner: str
    role: Role
    key_id: str | None = None

    @property
    def scope(self) -> str | None:
        """The owner whose jobs and pictures the principal sees; None for those of all owners."""
        return None if self.role is Role.ADMIN else self.owner


LOCAL = Principal("local", Role.ADMIN)
"""The principal of all requests to a server without keys: on loopback only, so its users have this machine anyway."""
