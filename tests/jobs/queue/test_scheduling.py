from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from safelight.jobs.queue.scheduling import LOOKAHEAD, MAX_PASSED, QueuedJob, choose_job, next_virtual_time


def waiting_jobs(number: int, checkpoint: str = "a", *, priority: int = 0, passed: int = 0) -> QueuedJob:
    return QueuedJob(f"{number:04}", priority, float(number), checkpoint, passed)


def test_an_empty_queue() -> None:
    assert choose_job([], frozenset()) is None


def test_the_first_job_is_next_when_no_checkpoint_is_in_memory() -> None:
    queue = [waiting_jobs(1), waiting_jobs(2, "b")]
    choice = choose_job(queue, frozenset())
    assert choice is not None
    assert choice.job is queue[0]
    assert choice.passed == ()


def test_a_checkpoint_in_memory_is_preferred() -> None:
    queue = [waiting_jobs(1, "a"), waiting_jobs(2, "a"), waiting_jobs(3, "b")]
    choice = choose_job(queue, frozenset({"b"}))
    assert choice is not None
    assert choice.job is queue[2]
    assert choice.passed == tuple(queue[:2])


def test_a_job_without_a_checkpoint_is_not_delayed() -> None:
    queue = [waiting_jobs(1, ""), waiting_jobs(2, "b")]
    choice = choose_job(queue, frozenset({"b"}))
    assert choice is not None
    assert choice.job is queue[0]


def test_a_higher_priority_is_never_overtaken() -> None:
    queue = [waiting_jobs(1, "a", priority=5), waiting_jobs(2, "b")]
    choice = choose_job(queue, frozenset({"b"}))
    assert choice is not None
    assert choice.job is queue[0]


def test_the_number_of_times_a_job_is_overtaken_is_limited() -> None:
    queue = [waiting_jobs(1, "a", passed=MAX_PASSED), waiting_jobs(2, "b")]
    choice = choose_job(queue, frozenset({"b"}))
    assert choice is not None
    assert choice.job is queue[0]


def test_only_the_first_few_jobs_are_considered() -> None:
    queue = [waiting_jobs(number) for number in range(LOOKAHEAD)] + [waiting_jobs(LOOKAHEAD, "b")]
    choice = choose_job(queue, frozenset({"b"}))
    assert choice is not None
    assert choice.job is queue[0]


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60))
def test_no_job_is_overtaken_more_often_than_allowed(checkpoints: list[str]) -> None:
    """However checkpoints are mixed, every job runs after a bounded delay."""
    queue = [waiting_jobs(number, checkpoint) for number, checkpoint in enumerate(checkpoints)]
    loaded: frozenset[str] = frozenset()
    served: list[QueuedJob] = []
    while queue:
        choice = choose_job(queue, loaded)
        assert choice is not None
        assert all(other.passed < MAX_PASSED for other in choice.passed)
        passed = {other.id for other in choice.passed}
        queue = [
            QueuedJob(job.id, job.priority, job.turn, job.checkpoint, job.passed + (job.id in passed))
            for job in queue
            if job.id != choice.job.id
        ]
        loaded = frozenset({choice.job.checkpoint})
        served.append(choice.job)
    assert sorted(job.id for job in served) == [f"{number:04}" for number in range(len(checkpoints))]


@given(st.integers(2, 30), st.integers(1, 5))
def test_owners_alternate(many: int, few: int) -> None:
    """An owner with many queued jobs does not delay one with few."""
    clock, last, order = 0.0, {}, []
    for owner, count in (("greedy", many), ("modest", few)):
        for _ in range(count):
            last[owner] = next_virtual_time(clock, last.get(owner), 1.0)
            order.append((last[owner], owner))
    first = [owner for _, owner in sorted(order)][: 2 * min(many, few)]
    assert Counter(first)["modest"] == min(many, few)


def test_an_idle_owner_gains_no_credit() -> None:
    assert next_virtual_time(100.0, None, 1.0) == 101.0
    assert next_virtual_time(100.0, 3.0, 1.0) == 101.0
    assert next_virtual_time(100.0, 150.0, 2.0) == 152.0
