from __future__ import annotations

import threading
import time
from collections import Counter
from itertools import count

import pytest

from safelight.jobs.job import Job, JobKind, JobState
from safelight.jobs.queue.scheduling import Preemption
from safelight.jobs.queue.store import JobStore
from safelight.jobs.worker import running_jobs as company_module
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
def company() -> RunningJobs:
    return RunningJobs(3)


def add_job(company: RunningJobs, ledger: JobStore, *members: Job) -> list[RunningJob]:
    joined = [RunningJob(member, ledger) for member in members]
    for running in joined:
        company.add(running)
    return joined


def test_similar_generation_jobs_run_beside_each_other(company: RunningJobs, ledger: JobStore) -> None:
    assert company.admits(job("a"))
    add_job(company, ledger, job("a"))
    assert company.admits(job("b", request={"prompt": "a dog", "width": 512}))
    assert not company.admits(job("b", request={"prompt": "a cat", "width": 64}))
    assert not company.admits(job("b", kind=JobKind.SCAN))
    add_job(company, ledger, job("b"), job("c"))
    assert not company.admits(job("d"))


def test_a_job_that_lost_its_worker_runs_alone(company: RunningJobs, ledger: JobStore) -> None:
    """It may have killed the worker, and would take the others along again."""
    assert company.admits(job("suspect", lost=1))
    (other,) = add_job(company, ledger, job("a"))
    assert not company.admits(job("suspect", lost=1))
    company.remove(other)
    add_job(company, ledger, job("suspect", lost=1))
    assert not company.admits(job("a"))


def test_a_job_never_runs_beside_itself(company: RunningJobs, ledger: JobStore) -> None:
    """It was requeued and claimed again by the same worker, whose first run of it continues."""
    (first,) = add_job(company, ledger, job("a"))
    again = job("a", attempt=2)
    assert not company.admits(again)
    company.remove(first)
    assert company.admits(again)


def test_two_runs_of_a_job_are_distinct(company: RunningJobs, ledger: JobStore) -> None:
    first, second = add_job(company, ledger, job("a"), job("a"))
    company.remove(first)
    assert company.jobs == [second]


def test_time_is_shared(company: RunningJobs, ledger: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(company_module.time, "monotonic", lambda: now[0])
    company = RunningJobs(3)
    now[0] = 100.0  # no job runs
    (first,) = add_job(company, ledger, job("a"))
    now[0] = 110.0  # alone: ten seconds
    (second,) = add_job(company, ledger, job("b"))
    now[0] = 130.0  # twenty for both: ten each
    assert company.seconds_of(first) == pytest.approx(20.0)
    company.remove(first)
    now[0] = 131.0
    assert company.seconds_of(second) == pytest.approx(11.0)


def test_a_waiting_thread_is_notified_of_a_free_slot(company: RunningJobs, ledger: JobStore) -> None:
    (running,) = add_job(company, ledger, job("a"))
    timer = threading.Timer(0.1, company.remove, [running])
    timer.start()
    began = time.monotonic()
    company.wait(30)
    assert time.monotonic() - began < 15
    timer.join()


class Clock:
    """The running jobs' time, set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(company_module.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def add_small_job(job_id: str, owner: str, **fields: object) -> Job:
    """A job that cannot be batched with the others."""
    return job(job_id, owner=owner, request={"prompt": "a cat", "width": 64 + len(job_id)}, **fields)


def active_jobs(company: RunningJobs) -> str:
    return " ".join(running.job.id for running in company.active)


def test_no_job_pauses_before_its_time_slice_is_over(clock: Clock, ledger: JobStore) -> None:
    company = RunningJobs(3)
    assert company.preemption() is None
    add_job(company, ledger, job("a"), job("a2"))
    clock.now = 9.0
    assert company.preemption() is None
    assert company.slice_left == 1.0
    clock.now = 10.0
    assert company.preemption() == Preemption(0, frozenset({"anna"}))


def test_a_job_started_before_others_makes_them_pause_and_they_resume_afterwards(
    clock: Clock, ledger: JobStore
) -> None:
    company = RunningJobs(3)
    add_job(company, ledger, job("a"), job("a2"))
    clock.now = 10.0
    (b,) = add_job(company, ledger, add_small_job("bb", "berta"))
    assert active_jobs(company) == "bb"
    clock.now = 12.0
    company.remove(b)
    assert active_jobs(company) == ""
    # Berta has had as much as Anna and two seconds more: another job of hers waits, one of a new owner does not.
    assert company.preemption() == Preemption(0, frozenset({"anna", "berta"}))
    company.resume_next()
    assert active_jobs(company) == "a a2"
    assert [company.seconds_of(member) for member in company.jobs] == [5.0, 5.0]
    clock.now = 21.9
    assert company.preemption() is None
    clock.now = 22.1
    assert company.preemption() == Preemption(0, frozenset({"anna"}))


def test_owners_get_equal_time_however_many_jobs_they_have(clock: Clock, ledger: JobStore) -> None:
    """Anna's job never ends; Berta and Carla always have one more, which takes a second or twenty."""
    company, had, numbers = RunningJobs(3), Counter[str](), count()
    lengths = {"berta": 1.0, "carla": 20.0}
    left: dict[RunningJob, float] = {}
    add_job(company, ledger, job("a", owner="anna"))
    switches, before = 0, "a"
    while clock.now < 2000:
        if (holders := company.preemption()) is not None:
            waiting = [owner for owner in lengths if owner not in holders.excluded_owners]
            here = {member.job.owner for member in company.jobs}
            if begin := next((owner for owner in waiting if owner not in here), None):
                (running,) = add_job(company, ledger, add_small_job("x" * (1 + next(numbers) % 2), begin))
                left[running] = lengths[begin]
            else:
                company.resume_next()
        clock.now += 0.5
        for running in company.active:
            had[running.job.owner] += 0.5
            if running in left:
                left[running] -= 0.5
                if left[running] <= 0:
                    company.remove(running)
                    del left[running]
        switches += active_jobs(company) != before
        before = active_jobs(company)
    assert set(had) == {"anna", "berta", "carla"}
    assert had == {owner: pytest.approx(2000 / 3, rel=0.05) for owner in had}
    assert switches < 2000 / 1.0


def test_a_higher_priority_goes_first_also_among_ones_own_jobs(clock: Clock, ledger: JobStore) -> None:
    company = RunningJobs(3)
    add_job(company, ledger, job("low", priority=-5))
    clock.now = 10.0
    assert company.preemption() == Preemption(-5, frozenset({"anna"}))
    (high,) = add_job(company, ledger, add_small_job("high", "anna", priority=5))
    clock.now = 1000.0
    assert company.preemption() == Preemption(5, frozenset({"anna"}))
    company.resume_next()
    assert active_jobs(company) == "high"  # however long it takes
    company.remove(high)
    company.resume_next()
    assert active_jobs(company) == "low"


def test_paused_jobs_that_can_be_batched_resume_together(clock: Clock, ledger: JobStore) -> None:
    company = RunningJobs(2)
    add_job(company, ledger, job("a"), job("a2"))
    clock.now = 10.0
    add_job(company, ledger, job("b", owner="berta"))  # similar, but there is no slot
    assert active_jobs(company) == "b"
    clock.now = 20.5
    company.resume_next()
    assert active_jobs(company) == "a a2"


def test_a_job_that_fits_pauses_no_other(clock: Clock, ledger: JobStore) -> None:
    company = RunningJobs(3)
    add_job(company, ledger, job("a"))
    clock.now = 10.0
    assert company.may_preempt(job("b", owner="berta"))
    add_job(company, ledger, job("b", owner="berta"))
    assert active_jobs(company) == "a b"


def test_the_number_of_paused_jobs_is_limited(clock: Clock, ledger: JobStore) -> None:
    company = RunningJobs(1)
    for number in range(MAX_PAUSED + 1):
        clock.now += 10.0
        assert company.may_preempt(add_small_job("x", f"owner {number}")), number
        add_job(company, ledger, add_small_job(f"x{number}", f"owner {number}"))
    assert not company.may_preempt(add_small_job("x", "late"))


def test_a_job_that_lost_its_worker_pauses_no_other_such_job(clock: Clock, ledger: JobStore) -> None:
    company = RunningJobs(3)
    (suspect,) = add_job(company, ledger, job("a", lost=1))
    clock.now = 10.0
    assert not company.may_preempt(add_small_job("b", "berta", lost=1))
    assert company.may_preempt(add_small_job("b", "berta"))
    suspect.reset_lost_count()
    assert company.may_preempt(add_small_job("b", "berta", lost=1))
    assert not company.may_preempt(job("a", attempt=2))
    add_job(company, ledger, add_small_job("cc", "carla"))
    assert not company.admits(job("a", attempt=2))  # it pauses here
