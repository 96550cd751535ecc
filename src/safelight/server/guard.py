"""When the server may be reached without a key, and the refusal to start where it may not."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from safelight.errors import KeysNeededError
from safelight.settings import Settings

if TYPE_CHECKING:
    from safelight.server.keys import Keys

OPEN_PATHS = frozenset({"/health/live", "/health/ready"})
"""What anybody may ask: whether the server is there."""


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def listens_beyond_loopback(settings: Settings) -> bool:
    """Whether others can reach the server: by its address, or by a name that leads to it through a proxy."""
    return not is_loopback(settings.host) or bool(settings.allowed_hosts or settings.trusted_proxies)


def wants_keys(settings: Settings, keys: Keys) -> bool:
    """Whether requests have to come with a key; where others can reach the server, even when the last was revoked."""
    return listens_beyond_loopback(settings) or keys.any()


def check_address(settings: Settings) -> None:
    """Refuse to start a server that others can reach and nobody has a key for.

    Raises:
        KeysNeededError: There is no valid key.
        DatabaseError: It cannot be found out.
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
