"""hypothesis profiles: the same examples on every run, or, with ``make test-explore``, many new ones."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

_USUAL = 100


def register_profiles() -> None:
    """Register hypothesis' profiles and load the deterministic one.

    No test fails because a machine is slow: deadlines and the data-too-slow health check are off.
    """
    slowly = [HealthCheck.too_slow]
    settings.register_profile(
        "repeatable",
        max_examples=_USUAL,
        derandomize=True,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=slowly,
    )
    # Its database is hypothesis' own, in .hypothesis: a failure found once is tried first the next time.
    settings.register_profile(
        "explore", max_examples=20 * _USUAL, deadline=None, print_blob=True, suppress_health_check=slowly
    )
    settings.load_profile("repeatable")


def example_count(number: int) -> int:
    """The number of examples to try where ``make test`` tries ``number``; other profiles scale it."""
    return max(1, number * settings().max_examples // _USUAL)
