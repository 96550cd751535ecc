"""The rule for serving without keys: on loopback only; a server that others can reach needs a key to start."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from safelight.errors import KeysNeededError
from safelight.settings import Settings

if TYPE_CHECKING:
    from safelight.server.keys import Keys

OPEN_PATHS = frozenset({"/health/live", "/health/ready"})
"""Paths that need no key: the health checks."""


def is_loopback(host: str) -> bool:
    """Whether a host is a loopback address or ``localhost``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def listens_beyond_loopback(settings: Settings) -> bool:
    """Whether other machines can reach the server: by its address, or through a proxy."""
    return not is_loopback(settings.host) or bool(settings.allowed_hosts or settings.trusted_proxies)


def wants_keys(settings: Settings, keys: Keys) -> bool:
    """Whether requests need a key; on a server that others can reach, also after the last key was revoked."""
    return listens_beyond_loopback(settings) or keys.any()


def check_address(settings: Settings) -> None:
    """Raise unless the server is on loopback only or has a valid key.

    Raises:
        KeysNeededError: Others can reach the server, and there is no valid key.
        DatabaseError: The keys cannot be read.
    """
    if not listens_beyond_loopback(settings):
        return
    from safelight.database import migrate, open_database
    from safelight.server.keys import SCHEMA, Keys

    engine = open_database(settings)
    try:
        migrate(engine, [SCHEMA])
        if not Keys(engine).any():
            raise KeysNeededError(f"{_reached(settings)} can be reached by others, and there is no key.")
    finally:
        engine.dispose()


def _reached(settings: Settings) -> str:
    return (
        settings.host if not is_loopback(settings.host) else "A server with allowed_hosts or trusted_proxies"
    )
