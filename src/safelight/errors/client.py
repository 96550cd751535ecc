"""Errors of the client for a Safelight server."""

from __future__ import annotations

from safelight.errors.base import SafelightError


class ServerError(SafelightError):
    """A server that cannot be reached, or answers what cannot be understood."""

    code = "client.server"
    summary = "The server cannot be reached, or what it answers is not Safelight's."
    default_hint = "Check its address, and that safelight serve runs there."
    http_status = 502
