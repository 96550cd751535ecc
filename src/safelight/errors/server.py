"""Errors of starting a server and of its capacity."""

from __future__ import annotations

from safelight.errors.base import InputError, SafelightError, SettingsError


class PortInUseError(InputError):
    """The server cannot listen on the address."""

    code = "server.port"
    summary = "The server cannot listen on this address."
    default_hint = "Another program may use the port: choose another with --port."


class DataDirectoryInUseError(InputError):
    """Another server uses the data directory."""

    code = "server.running"
    summary = "Another server uses this data directory."
    default_hint = "End the other one, or give this one a data directory of its own with SAFELIGHT_HOME."
    http_status = 409


class DataDirectoryError(InputError):
    """The data directory cannot be used."""

    code = "server.home"
    summary = "The data directory cannot be used."
    default_hint = "Choose one that can be written with SAFELIGHT_HOME."


class ServerStartingError(SafelightError):
    """The server listens already but is not ready."""

    code = "server.starting"
    summary = "The server is still starting."
    default_hint = "Try again in a second; /health/ready says when it is done."
    http_status = 503


class ServerBusyError(SafelightError):
    """The server has no memory left for another request."""

    code = "server.busy"
    summary = "The server is reading as much as it can hold."
    default_hint = "Try again after the seconds that the header Retry-After says."
    http_status = 503


class ConnectionLimitError(SafelightError):
    """There are too many connections from the address, or in total."""

    code = "server.connections"
    summary = "There are too many connections with requests at once."
    default_hint = "Close some, or try again after the seconds that the header Retry-After says."
    http_status = 503


class UnprotectedServerError(SettingsError):
    """The server would be reachable from other machines without any key."""

    code = "server.keys_needed"
    summary = "Without a key the server listens on this machine only."
    default_hint = "Make a key with: safelight keys add NAME"
