from __future__ import annotations

from safelight.jobs.worker.owner_usage import CREDIT, OwnerTimes


def test_a_new_owner_starts_at_the_others_usage() -> None:
    times = OwnerTimes()
    times.arrive("anna", set())
    times.charge("anna", 100.0)
    times.arrive("berta", {"anna"})
    assert times.of("berta") == 100.0
    times.charge("berta", 5.0)
    times.arrive("carla", {"anna", "berta"})
    assert times.of("carla") == 100.0


def test_an_owner_with_more_usage_keeps_it() -> None:
    times = OwnerTimes()
    times.arrive("anna", set())
    times.arrive("berta", {"anna"})
    times.charge("berta", 9.0)
    times.arrive("berta", {"anna"})  # back again
    assert times.of("berta") == 9.0
    assert times.beyond(0.0) == {"berta"}
    assert times.beyond(9.0) == frozenset()


def test_a_returning_owner_has_a_limited_credit() -> None:
    times = OwnerTimes()
    times.arrive("berta", set())
    times.arrive("anna", {"berta"})
    times.charge("anna", CREDIT - 1)
    times.arrive("berta", {"anna"})
    assert times.of("berta") == 0.0
    times.charge("anna", 1000.0)
    times.arrive("berta", {"anna"})
    assert times.of("berta") == times.of("anna") - CREDIT


def test_without_owners_usage_is_reset() -> None:
    times = OwnerTimes()
    times.arrive("anna", set())
    times.charge("anna", 9.0)
    times.arrive("berta", set())
    times.arrive("anna", {"berta"})
    assert (times.of("anna"), times.of("berta")) == (0.0, 0.0)
