"""Errors of the client for a Safelight server."""

from __future__ import annotations

from safelight.errors.base import SafelightError


class ServerError(SafelightError):
    """The server cannot be reached, or its response cannot be understood."""

    code = "client.server"
    summary = "The server cannot be reached, or it is not a Safelight server."
    default_hint = "Check its address, and that safelight serve runs there."
    http_status = 502
