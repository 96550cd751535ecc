from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from safelight import expiry_clock as module
from safelight.expiry_clock import DISTRUST_SECONDS, JUMP_TOLERANCE, ExpiryClock

DAY = 86400.0


class Times:
    """A wall clock and a monotonic clock, both set by the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.day, self.passed = datetime(2026, 1, 1, tzinfo=UTC), 50.0
        monkeypatch.setattr(module, "_elapsed", lambda: self.passed)

    def go_on(self, seconds: float) -> None:
        self.day, self.passed = self.day + timedelta(seconds=seconds), self.passed + seconds


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Times:
    return Times(monkeypatch)


def test_it_follows_the_wall_clock(times: Times) -> None:
    clock = ExpiryClock(times.day)
    times.go_on(30 * DAY)
    assert clock.at(times.day) == times.day
    for _ in range(100):  # a clock that is corrected continually
        times.go_on(3600)
        times.day += timedelta(seconds=JUMP_TOLERANCE / 2)
        assert clock.at(times.day) == times.day


def test_a_forward_jump_is_ignored_for_a_week_and_then_accepted(
    times: Times, caplog: pytest.LogCaptureFixture
) -> None:
    clock, before = ExpiryClock(times.day), times.day
    times.day += timedelta(days=7)
    assert clock.at(times.day) == before
    times.go_on(DISTRUST_SECONDS - 1)
    assert clock.at(times.day) == before + timedelta(seconds=DISTRUST_SECONDS - 1)
    assert [record.fields["seconds"] for record in caplog.records] == [7 * DAY]  # type: ignore[attr-defined]
    times.go_on(1)
    clock.at(times.day)
    assert clock.at(times.day) == times.day


def test_a_corrected_jump_has_no_effect(times: Times) -> None:
    clock = ExpiryClock(times.day)
    times.day += timedelta(days=7)
    clock.at(times.day)
    times.go_on(60)
    times.day -= timedelta(days=7)
    assert clock.at(times.day) == times.day
    times.go_on(8 * DAY)
    assert clock.at(times.day) == times.day


def test_a_backward_jump_is_followed(times: Times) -> None:
    """Records made since then get an earlier time and must not look old."""
    clock = ExpiryClock(times.day)
    times.day -= timedelta(days=7)
    assert clock.at(times.day) == times.day
