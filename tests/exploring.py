"""How property tests look for examples: the same ones on every run, or, with ``make test-explore``, many new ones."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

_USUAL = 100


def register_profiles() -> None:
    """Register hypothesis' profiles and load the one that is the same for everybody.

    No test fails because a machine is slow: deadlines and checks of how fast data is made are left to people.
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
    # Its database is hypothesis' own, in .hypothesis: what was found once is tried first the next time.
    settings.register_profile(
        "explore", max_examples=20 * _USUAL, deadline=None, print_blob=True, suppress_health_check=slowly
    )
    settings.load_profile("repeatable")


def examples(number: int) -> int:
    """How many examples a test tries that tries ``number`` of them in ``make test``; in proportion in others."""
    return max(1, number * settings().max_examples // _USUAL)
