"""Errors of the benchmarks."""

from __future__ import annotations

from safelight.errors.base import InputError


class PeerMissingError(InputError):
    """The peer of a benchmark is unknown or not installed."""

    code = "bench.peer_missing"
    summary = "The peer to compare with is not known or not installed."
