"""Errors of the benchmarks."""

from __future__ import annotations

from safelight.errors.base import InputError


class PeerMissingError(InputError):
    """The other side of a comparison is not installed."""

    code = "bench.peer_missing"
    summary = "The peer to compare with is not known or not installed."
