"""A port for a server that a test starts."""

from __future__ import annotations

import random
import socket

_BELOW_CONNECTIONS = range(20_000, 32_000)
"""The system gives ports above these to connections, which could take one before the server listens."""


def free_port() -> int:
    """A port that nothing uses, chosen so that test processes which run at once hardly choose the same."""
    chance = random.SystemRandom()
    while True:
        port = chance.choice(_BELOW_CONNECTIONS)
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
