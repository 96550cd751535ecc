"""The rule for serving without keys: on loopback only; a server that others can reach needs a key to start."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from safelight.errors import UnprotectedServerError
from safelight.settings import Settings

if TYPE_CHECKING:
    from safelight.server.security.keys import KeyStore

PUBLIC_PATHS = frozenset({"/health/live", "/health/ready"})
"""Paths that need no key: the health checks."""


def is_loopback(host: str) -> bool:
    """Whether a host is a loopback address or ``localhost``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_exposed(settings: Settings) -> bool:
    """Whether other machines can reach the server: by its address, or through a proxy."""
    return not is_loopback(settings.host) or bool(settings.allowed_hosts or settings.trusted_proxies)


def requires_keys(settings: Settings, keys: KeyStore) -> bool:
    """Whether requests need a key; on a server that others can reach, also after the last key was revoked."""
    return is_exposed(settings) or keys.has_any()


def check_bind_address(settings: Settings) -> None:
    """Raise unless the server is on loopback only or has a valid key.

    Raises:
        UnprotectedServerError: Others can reach the server, and there is no valid key.
        DatabaseError: The keys cannot be read.
    """
    if not is_exposed(settings):
        return
    from safelight.database import migrate, open_database
    from safelight.server.security.keys import SCHEMA, KeyStore

    engine = open_database(settings)
    try:
        migrate(engine, [SCHEMA])
        if not KeyStore(engine).has_any():
            raise UnprotectedServerError(
                f"{_exposed_as(settings)} can be reached by others, and there is no key."
            )
    finally:
        engine.dispose()


def _exposed_as(settings: Settings) -> str:
    return (
        settings.host if not is_loopback(settings.host) else "A server with allowed_hosts or trusted_proxies"
    )
