from __future__ import annotations

import threading
import time
from collections import Counter
from itertools import count

import pytest

from safelight.jobs.job import Job, JobKind, JobState
from safelight.jobs.queue.scheduling import Preemption
from safelight.jobs.queue.store import JobStore
from safelight.jobs.worker import running_jobs as module
from safelight.jobs.worker.running_job import RunningJob
from safelight.jobs.worker.running_jobs import MAX_PAUSED, RunningJobs

LONG_AGO = "2026-01-01T00:00:00Z"


def job(job_id: str, **fields: object) -> Job:
    given = {
        "id": job_id,
        "owner": "anna",
        "kind": JobKind.GENERATE,
        "state": JobState.RUNNING,
        "request": {"prompt": "a cat", "width": 512},
        "created": LONG_AGO,
        "attempt": 1,
    }
    return Job.model_validate(given | fields)


@pytest.fixture
def running_jobs() -> RunningJobs:
    return RunningJobs(3)


def add_job(running_jobs: RunningJobs, store: JobStore, *members: Job) -> list[RunningJob]:
    joined = [RunningJob(member, store) for member in members]
    for running in joined:
        running_jobs.add(running)
    return joined


def test_similar_generation_jobs_run_beside_each_other(running_jobs: RunningJobs, store: JobStore) -> None:
    assert running_jobs.admits(job("a"))
    add_job(running_jobs, store, job("a"))
    assert running_jobs.admits(job("b", request={"prompt": "a dog", "width": 512}))
    assert not running_jobs.admits(job("b", request={"prompt": "a cat", "width": 64}))
    assert not running_jobs.admits(job("b", kind=JobKind.SCAN))
    add_job(running_jobs, store, job("b"), job("c"))
    assert not running_jobs.admits(job("d"))


def test_a_job_that_lost_its_worker_runs_alone(running_jobs: RunningJobs, store: JobStore) -> None:
    """It may have killed the worker, and would take the others along again."""
    assert running_jobs.admits(job("suspect", lost=1))
    (other,) = add_job(running_jobs, store, job("a"))
    assert not running_jobs.admits(job("suspect", lost=1))
    running_jobs.remove(other)
    add_job(running_jobs, store, job("suspect", lost=1))
    assert not running_jobs.admits(job("a"))


def test_a_job_never_runs_beside_itself(running_jobs: RunningJobs, store: JobStore) -> None:
    """It was requeued and claimed again by the same worker, whose first run of it continues."""
    (first,) = add_job(running_jobs, store, job("a"))
    again = job("a", attempt=2)
    assert not running_jobs.admits(again)
    running_jobs.remove(first)
    assert running_jobs.admits(again)


def test_two_runs_of_a_job_are_distinct(running_jobs: RunningJobs, store: JobStore) -> None:
    first, second = add_job(running_jobs, store, job("a"), job("a"))
    running_jobs.remove(first)
    assert running_jobs.jobs == [second]


def test_time_is_shared(running_jobs: RunningJobs, store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    running_jobs = RunningJobs(3)
    now[0] = 100.0  # no job runs
    (first,) = add_job(running_jobs, store, job("a"))
    now[0] = 110.0  # alone: ten seconds
    (second,) = add_job(running_jobs, store, job("b"))
    now[0] = 130.0  # twenty for both: ten each
    assert running_jobs.seconds_of(first) == pytest.approx(20.0)
    running_jobs.remove(first)
    now[0] = 131.0
    assert running_jobs.seconds_of(second) == pytest.approx(11.0)


def test_a_waiting_thread_is_notified_of_a_free_slot(running_jobs: RunningJobs, store: JobStore) -> None:
    (running,) = add_job(running_jobs, store, job("a"))
    timer = threading.Timer(0.1, running_jobs.remove, [running])
    timer.start()
    began = time.monotonic()
    running_jobs.wait(30)
    assert time.monotonic() - began < 15
    timer.join()


class Clock:
    """The running jobs' time, set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def add_small_job(job_id: str, owner: str, **fields: object) -> Job:
    """A job that cannot be batched with the others."""
    return job(job_id, owner=owner, request={"prompt": "a cat", "width": 64 + len(job_id)}, **fields)


def active_jobs(running_jobs: RunningJobs) -> str:
    return " ".join(running.job.id for running in running_jobs.active)


def test_no_job_pauses_before_its_time_slice_is_over(clock: Clock, store: JobStore) -> None:
    running_jobs = RunningJobs(3)
    assert running_jobs.preemption() is None
    add_job(running_jobs, store, job("a"), job("a2"))
    clock.now = 9.0
    assert running_jobs.preemption() is None
    assert running_jobs.slice_left == 1.0
    clock.now = 10.0
    assert running_jobs.preemption() == Preemption(0, frozenset({"anna"}))


def test_a_job_started_before_others_makes_them_pause_and_they_resume_afterwards(
    clock: Clock, store: JobStore
) -> None:
    running_jobs = RunningJobs(3)
    add_job(running_jobs, store, job("a"), job("a2"))
    clock.now = 10.0
    (b,) = add_job(running_jobs, store, add_small_job("bb", "berta"))
    assert active_jobs(running_jobs) == "bb"
    clock.now = 12.0
    running_jobs.remove(b)
    assert active_jobs(running_jobs) == ""
    # Berta has had as much as Anna and two seconds more: another job of hers waits, one of a new owner does not.
    assert running_jobs.preemption() == Preemption(0, frozenset({"anna", "berta"}))
    running_jobs.resume_next()
    assert active_jobs(running_jobs) == "a a2"
    assert [running_jobs.seconds_of(member) for member in running_jobs.jobs] == [5.0, 5.0]
    clock.now = 21.9
    assert running_jobs.preemption() is None
    clock.now = 22.1
    assert running_jobs.preemption() == Preemption(0, frozenset({"anna"}))


def test_owners_get_equal_time_however_many_jobs_they_have(clock: Clock, store: JobStore) -> None:
    """Anna's job never ends; Berta and Carla always have one more, which takes a second or twenty."""
    running_jobs, had, numbers = RunningJobs(3), Counter[str](), count()
    lengths = {"berta": 1.0, "carla": 20.0}
    left: dict[RunningJob, float] = {}
    add_job(running_jobs, store, job("a", owner="anna"))
    switches, before = 0, "a"
    while clock.now < 2000:
        if (holders := running_jobs.preemption()) is not None:
            waiting = [owner for owner in lengths if owner not in holders.excluded_owners]
            here = {member.job.owner for member in running_jobs.jobs}
            if begin := next((owner for owner in waiting if owner not in here), None):
                (running,) = add_job(running_jobs, store, add_small_job("x" * (1 + next(numbers) % 2), begin))
                left[running] = lengths[begin]
            else:
                running_jobs.resume_next()
        clock.now += 0.5
        for running in running_jobs.active:
            had[running.job.owner] += 0.5
            if running in left:
                left[running] -= 0.5
                if left[running] <= 0:
                    running_jobs.remove(running)
                    del left[running]
        switches += active_jobs(running_jobs) != before
        before = active_jobs(running_jobs)
    assert set(had) == {"anna", "berta", "carla"}
    assert had == {owner: pytest.approx(2000 / 3, rel=0.05) for owner in had}
    assert switches < 2000 / 1.0


def test_a_higher_priority_goes_first_also_among_ones_own_jobs(clock: Clock, store: JobStore) -> None:
    running_jobs = RunningJobs(3)
    add_job(running_jobs, store, job("low", priority=-5))
    clock.now = 10.0
    assert running_jobs.preemption() == Preemption(-5, frozenset({"anna"}))
    (high,) = add_job(running_jobs, store, add_small_job("high", "anna", priority=5))
    clock.now = 1000.0
    assert running_jobs.preemption() == Preemption(5, frozenset({"anna"}))
    running_jobs.resume_next()
    assert active_jobs(running_jobs) == "high"  # however long it takes
    running_jobs.remove(high)
    running_jobs.resume_next()
    assert active_jobs(running_jobs) == "low"


def test_paused_jobs_that_can_be_batched_resume_together(clock: Clock, store: JobStore) -> None:
    running_jobs = RunningJobs(2)
    add_job(running_jobs, store, job("a"), job("a2"))
    clock.now = 10.0
    add_job(running_jobs, store, job("b", owner="berta"))  # similar, but there is no slot
    assert active_jobs(running_jobs) == "b"
    clock.now = 20.5
    running_jobs.resume_next()
    assert active_jobs(running_jobs) == "a a2"


def test_a_job_that_fits_pauses_no_other(clock: Clock, store: JobStore) -> None:
    running_jobs = RunningJobs(3)
    add_job(running_jobs, store, job("a"))
    clock.now = 10.0
    assert running_jobs.may_preempt(job("b", owner="berta"))
    add_job(running_jobs, store, job("b", owner="berta"))
    assert active_jobs(running_jobs) == "a b"


def test_the_number_of_paused_jobs_is_limited(clock: Clock, store: JobStore) -> None:
    running_jobs = RunningJobs(1)
    for number in range(MAX_PAUSED + 1):
        clock.now += 10.0
        assert running_jobs.may_preempt(add_small_job("x", f"owner {number}")), number
        add_job(running_jobs, store, add_small_job(f"x{number}", f"owner {number}"))
    assert not running_jobs.may_preempt(add_small_job("x", "late"))


def test_a_job_that_lost_its_worker_pauses_no_other_such_job(clock: Clock, store: JobStore) -> None:
    running_jobs = RunningJobs(3)
    (suspect,) = add_job(running_jobs, store, job("a", lost=1))
    clock.now = 10.0
    assert not running_jobs.may_preempt(add_small_job("b", "berta", lost=1))
    assert running_jobs.may_preempt(add_small_job("b", "berta"))
    suspect.reset_lost_count()
    assert running_jobs.may_preempt(add_small_job("b", "berta", lost=1))
    assert not running_jobs.may_preempt(job("a", attempt=2))
    add_job(running_jobs, store, add_small_job("cc", "carla"))
    assert not running_jobs.admits(job("a", attempt=2))  # it pauses here
