from __future__ import annotations

from safelight.jobs.worker.owner_usage import MAX_CREDIT, OwnerUsage


def test_a_new_owner_starts_at_the_others_usage() -> None:
    times = OwnerUsage()
    times.add_owner("anna", set())
    times.charge("anna", 100.0)
    times.add_owner("berta", {"anna"})
    assert times.seconds_of("berta") == 100.0
    times.charge("berta", 5.0)
    times.add_owner("carla", {"anna", "berta"})
    assert times.seconds_of("carla") == 100.0


def test_an_owner_with_more_usage_keeps_it() -> None:
    times = OwnerUsage()
    times.add_owner("anna", set())
    times.add_owner("berta", {"anna"})
    times.charge("berta", 9.0)
    times.add_owner("berta", {"anna"})  # back again
    assert times.seconds_of("berta") == 9.0
    assert times.owners_above(0.0) == {"berta"}
    assert times.owners_above(9.0) == frozenset()


def test_a_returning_owner_has_a_limited_credit() -> None:
    times = OwnerUsage()
    times.add_owner("berta", set())
    times.add_owner("anna", {"berta"})
    times.charge("anna", MAX_CREDIT - 1)
    times.add_owner("berta", {"anna"})
    assert times.seconds_of("berta") == 0.0
    times.charge("anna", 1000.0)
    times.add_owner("berta", {"anna"})
    assert times.seconds_of("berta") == times.seconds_of("anna") - MAX_CREDIT


def test_without_owners_usage_is_reset() -> None:
    times = OwnerUsage()
    times.add_owner("anna", set())
    times.charge("anna", 9.0)
    times.add_owner("berta", set())
    times.add_owner("anna", {"berta"})
    assert (times.seconds_of("anna"), times.seconds_of("berta")) == (0.0, 0.0)
