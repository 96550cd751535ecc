from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, select, update
from tests.jobs.store_helpers import claim_job, notified_channels, submission
from tests.times import seconds_ago

from safelight.database import read_transaction, write_transaction
from safelight.database.notifications import Listener
from safelight.errors import InternalError
from safelight.jobs.channels import Channel
from safelight.jobs.job import JobState, Progress, Signal
from safelight.jobs.queue.scheduling import Preemption
from safelight.jobs.queue.store import JobStore
from safelight.jobs.queue.tables import jobs, virtual_clock


def test_the_loaded_checkpoint_is_preferred_within_bounds(ledger: JobStore) -> None:
    other = ledger.submit(submission(checkpoint="other"))
    same = [ledger.submit(submission(checkpoint="same")) for _ in range(8)]
    order = []
    for _ in range(6):
        job = ledger.claim("w1", loaded=frozenset({"same"}))
        assert job is not None
        order.append(job.id)
    assert order == [*(job.id for job in same[:4]), other.id, same[4].id]


def test_a_job_that_does_not_fit_beside_others_keeps_its_position(ledger: JobStore) -> None:
    first = ledger.submit(submission(checkpoint="b"))
    ledger.submit(submission(checkpoint="a"))
    assert ledger.claim("w1", admits=lambda job: job.id != first.id) is None
    assert claim_job(ledger).id == first.id


def test_two_workers_never_get_the_same_job(ledger: JobStore) -> None:
    submitted = {ledger.submit(submission(f"owner {number % 3}")).id for number in range(30)}

    def work(name: str) -> list[str]:
        done = []
        while job := ledger.claim(name):
            done.append(job.id)
            ledger.succeed(job, {}, 0.1)
        return done

    with ThreadPoolExecutor(4) as pool:
        done = [job_id for part in pool.map(work, "abcd") for job_id in part]
    # PostgreSQL skips locked rows, so that one worker may find no job and leave
    while job := ledger.claim("last"):
        done.append(job.id)
        ledger.succeed(job, {}, 0.1)
    assert len(done) == 30
    assert set(done) == submitted


def test_a_lost_workers_job_is_requeued_and_its_result_is_refused(
    ledger: JobStore, database: Engine, listener: Listener
) -> None:
    ledger.submit(submission())
    assert notified_channels(listener) == {Channel.JOBS}
    lost = claim_job(ledger, "w1")
    assert ledger.reclaim() == 0
    with write_transaction(database) as connection:
        connection.execute(update(jobs).values(lease=seconds_ago(1)))
    assert ledger.reclaim() == 1
    assert notified_channels(listener) == {Channel.JOBS}
    successor = claim_job(ledger, "w2")
    assert (successor.id, successor.attempt) == (lost.id, 2)
    assert not ledger.report(lost, Progress(stage="first pass"))
    assert not ledger.succeed(lost, {"pictures": ["wrong"]}, 1.0)
    assert not ledger.fail(lost, InternalError())
    assert not ledger.release(lost)
    assert ledger.renew("w1", [lost]) == {lost.id: Signal.CANCEL}
    assert ledger.succeed(successor, {"pictures": ["right"]}, 1.0)
    assert ledger.get(lost.id).result == {"pictures": ["right"]}


def test_a_restarted_worker_requeues_its_own_jobs(ledger: JobStore) -> None:
    ledger.submit(submission())
    ledger.submit(submission())
    mine, other = claim_job(ledger, "w1"), claim_job(ledger, "w2")
    assert ledger.reclaim("w1") == 1
    assert ledger.get(mine.id).state is JobState.QUEUED
    assert ledger.get(other.id).state is JobState.RUNNING


@pytest.mark.parametrize("attempts", [1, 3, 5])
def test_a_job_that_kills_its_workers_ends(database: Engine, attempts: int) -> None:
    ledger = JobStore(database, max_attempts=attempts)
    job_id = ledger.submit(submission()).id
    for attempt in range(1, attempts + 1):
        assert not ledger.get(job_id).state.final
        assert claim_job(ledger).attempt == attempt
        ledger.reclaim("w1")
    ended = ledger.get(job_id)
    assert ended.state is JobState.FAILED
    assert ended.error is not None
    assert ended.error.code == "worker.lost"


def test_a_returned_job_is_next_and_loses_no_attempt(ledger: JobStore) -> None:
    first = ledger.submit(submission())
    ledger.submit(submission())
    job = claim_job(ledger)
    assert ledger.release(job)
    again = claim_job(ledger, "w2")
    assert (again.id, again.attempt) == (first.id, 1)


def test_a_cancelled_job_of_a_lost_worker_is_not_restarted(ledger: JobStore) -> None:
    ledger.submit(submission())
    job = claim_job(ledger)
    ledger.send_signal(job.id, Signal.CANCEL)
    ledger.reclaim("w1")
    assert ledger.get(job.id).state is JobState.CANCELLED


def test_progress_resets_lost_workers(ledger: JobStore) -> None:
    job_id = ledger.submit(submission()).id
    for lost in range(5):  # with an image each time, it may go on for ever
        job = claim_job(ledger)
        assert (job.lost, job.attempt) == (min(lost, 1), lost + 1)
        ledger.reset_lost_count(job)
        ledger.reclaim("w1")
    assert ledger.get(job_id).state is JobState.QUEUED
    assert ledger.get(job_id).lost == 1


def test_only_the_claiming_worker_reports_progress(ledger: JobStore) -> None:
    ledger.submit(submission())
    former = claim_job(ledger)
    ledger.reclaim("w1")
    claim_job(ledger, "w2")
    ledger.reset_lost_count(former)
    assert ledger.get(former.id).lost == 1


def test_returning_a_job_is_no_lost_attempt(ledger: JobStore) -> None:
    ledger.submit(submission())
    for _ in range(4):
        assert ledger.release(claim_job(ledger))
    assert claim_job(ledger).lost == 0


def test_a_cancelled_job_is_not_requeued(ledger: JobStore) -> None:
    """The worker exits before it is notified."""
    ledger.submit(submission())
    job = claim_job(ledger)
    ledger.send_signal(job.id, Signal.CANCEL)
    assert ledger.release(job, {"pictures": [1]})
    ended = ledger.get(job.id)
    assert (ended.state, ended.result) == (JobState.CANCELLED, {"pictures": [1]})


def test_a_worker_does_not_requeue_its_running_jobs(ledger: JobStore, database: Engine) -> None:
    """All leases have expired: the clock was set, the machine slept, or the database was locked."""
    ledger.submit(submission())
    ledger.submit(submission())
    mine, other = claim_job(ledger, "w1"), claim_job(ledger, "w2")
    with write_transaction(database) as connection:
        connection.execute(update(jobs).values(lease=seconds_ago(100)))
    assert ledger.reclaim(exclude=[mine.id]) == 1
    assert ledger.get(mine.id).state is JobState.RUNNING
    assert ledger.get(other.id).state is JobState.QUEUED
    assert ledger.succeed(mine, {})


def test_leases_use_the_databases_clock(
    ledger: JobStore, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose host's clock is an hour ahead takes no job of others."""
    ledger.submit(submission())
    job = claim_job(ledger)
    ahead = time.time() + 3600
    monkeypatch.setattr("safelight.database.coordination.time.time", lambda: ahead)
    taken = ledger.reclaim()
    assert taken == (0 if database.dialect.name == "postgresql" else 1)
    monkeypatch.undo()
    assert ledger.succeed(job, {}) is (taken == 0)


def test_virtual_time_never_goes_back(ledger: JobStore, database: Engine) -> None:
    first = ledger.submit(submission(cost=1.0))
    ledger.submit(submission(cost=5.0))
    early, late = claim_job(ledger), claim_job(ledger)
    assert early.id == first.id
    ledger.release(early)
    claim_job(ledger)
    assert late.state is JobState.RUNNING
    with read_transaction(database) as connection:
        assert connection.execute(select(virtual_clock.c.turn)).scalars().all() == [6.0]


def test_urgent_jobs_do_not_advance_virtual_time(ledger: JobStore) -> None:
    """An administrator's large jobs do not make new owners wait behind all earlier ones."""
    for _ in range(3):
        ledger.submit(submission("early", cost=1.0))
    ledger.submit(submission("admin", priority=10, cost=1000.0))
    assert claim_job(ledger).owner == "admin"
    ledger.submit(submission("late", cost=1.0))
    assert [claim_job(ledger).owner for _ in range(4)] == ["early", "late", "early", "early"]


def test_timings_are_of_whole_jobs(ledger: JobStore) -> None:
    for seconds in (10.0, None):
        ledger.submit(submission())
        job = claim_job(ledger)
        ledger.report(job, Progress(stage="first pass"))
        ledger.succeed(job, {}, seconds)
    assert ledger.submit(submission()).eta == 10.0


def test_claiming_only_before_the_owners_of_running_jobs(ledger: JobStore) -> None:
    for owner, priority in (("anna", 0), ("anna", 5), ("berta", 0), ("carla", -1)):
        ledger.submit(submission(owner, priority=priority))

    def before(priority: int, *owners: str) -> tuple[str, int] | None:
        job = ledger.claim("w1", preempting=Preemption(priority, frozenset(owners)))
        return None if job is None else (job.owner, job.priority)

    assert before(5, "anna") is None
    assert before(0, "anna") == ("anna", 5)
    assert before(0, "anna", "berta") is None
    assert before(0, "anna") == ("berta", 0)
    assert before(0, "anna") is None
    assert before(-1, "carla") == ("anna", 0)
    assert before(-1, "anna") == ("carla", -1)


def test_a_lease_from_before_the_clock_was_set_back_expires(ledger: JobStore, database: Engine) -> None:
    """Its worker is gone, and would count as alive for a week."""
    ledger.submit(submission())
    ledger.submit(submission())
    lost, alive = claim_job(ledger), claim_job(ledger, "w2")
    with write_transaction(database) as connection:
        connection.execute(update(jobs).values(lease=seconds_ago(-7 * 86400)))
    ledger.renew("w2", [alive])
    assert ledger.reclaim() == 1
    assert ledger.get(lost.id).state is JobState.QUEUED
    assert ledger.get(alive.id).state is JobState.RUNNING
