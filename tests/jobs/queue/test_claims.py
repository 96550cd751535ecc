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
from safelight.jobs.queue.admission import QueueRules
from safelight.jobs.queue.scheduling import Preemption
from safelight.jobs.queue.store import JobStore
from safelight.jobs.queue.tables import jobs, virtual_clock


def test_the_loaded_checkpoint_is_preferred_within_bounds(store: JobStore) -> None:
    other = store.submit(submission(checkpoint="other"))
    same = [store.submit(submission(checkpoint="same")) for _ in range(8)]
    order = []
    for _ in range(6):
        job = store.claim("w1", loaded=frozenset({"same"}))
        assert job is not None
        order.append(job.id)
    assert order == [*(job.id for job in same[:4]), other.id, same[4].id]


def test_a_job_that_does_not_fit_beside_others_keeps_its_position(store: JobStore) -> None:
    first = store.submit(submission(checkpoint="b"))
    store.submit(submission(checkpoint="a"))
    assert store.claim("w1", admits=lambda job: job.id != first.id) is None
    assert claim_job(store).id == first.id


def test_two_workers_never_get_the_same_job(store: JobStore) -> None:
    submitted = {store.submit(submission(f"owner {number % 3}")).id for number in range(30)}

    def work(name: str) -> list[str]:
        done = []
        while job := store.claim(name):
            done.append(job.id)
            store.succeed(job, {}, 0.1)
        return done

    with ThreadPoolExecutor(4) as pool:
        done = [job_id for part in pool.map(work, "abcd") for job_id in part]
    # PostgreSQL skips locked rows, so that one worker may find no job and leave
    while job := store.claim("last"):
        done.append(job.id)
        store.succeed(job, {}, 0.1)
    assert len(done) == 30
    assert set(done) == submitted


def test_a_lost_workers_job_is_requeued_and_its_result_is_refused(
    store: JobStore, database: Engine, listener: Listener
) -> None:
    store.submit(submission())
    assert notified_channels(listener) == {Channel.JOBS}
    lost = claim_job(store, "w1")
    assert store.reclaim() == 0
    with write_transaction(database) as connection:
        connection.execute(update(jobs).values(lease=seconds_ago(1)))
    assert store.reclaim() == 1
    assert notified_channels(listener) == {Channel.JOBS}
    successor = claim_job(store, "w2")
    assert (successor.id, successor.attempt) == (lost.id, 2)
    assert not store.report(lost, Progress(stage="first pass"))
    assert not store.succeed(lost, {"pictures": ["wrong"]}, 1.0)
    assert not store.fail(lost, InternalError())
    assert not store.release(lost)
    assert store.renew("w1", [lost]) == {lost.id: Signal.CANCEL}
    assert store.succeed(successor, {"pictures": ["right"]}, 1.0)
    assert store.get(lost.id).result == {"pictures": ["right"]}


def test_a_restarted_worker_requeues_its_own_jobs(store: JobStore) -> None:
    store.submit(submission())
    store.submit(submission())
    mine, other = claim_job(store, "w1"), claim_job(store, "w2")
    assert store.reclaim("w1") == 1
    assert store.get(mine.id).state is JobState.QUEUED
    assert store.get(other.id).state is JobState.RUNNING


@pytest.mark.parametrize("attempts", [1, 3, 5])
def test_a_job_that_kills_its_workers_ends(database: Engine, attempts: int) -> None:
    store = JobStore(database, lambda: QueueRules(max_attempts=attempts))
    job_id = store.submit(submission()).id
    for attempt in range(1, attempts + 1):
        assert not store.get(job_id).state.final
        assert claim_job(store).attempt == attempt
        store.reclaim("w1")
    ended = store.get(job_id)
    assert ended.state is JobState.FAILED
    assert ended.error is not None
    assert ended.error.code == "worker.lost"


def test_a_returned_job_is_next_and_loses_no_attempt(store: JobStore) -> None:
    first = store.submit(submission())
    store.submit(submission())
    job = claim_job(store)
    assert store.release(job)
    again = claim_job(store, "w2")
    assert (again.id, again.attempt) == (first.id, 1)


def test_a_cancelled_job_of_a_lost_worker_is_not_restarted(store: JobStore) -> None:
    store.submit(submission())
    job = claim_job(store)
    store.send_signal(job.id, Signal.CANCEL)
    store.reclaim("w1")
    assert store.get(job.id).state is JobState.CANCELLED


def test_progress_resets_lost_workers(store: JobStore) -> None:
    job_id = store.submit(submission()).id
    for lost in range(5):  # with an image each time, it may go on for ever
        job = claim_job(store)
        assert (job.lost, job.attempt) == (min(lost, 1), lost + 1)
        store.reset_lost_count(job)
        store.reclaim("w1")
    assert store.get(job_id).state is JobState.QUEUED
    assert store.get(job_id).lost == 1


def test_only_the_claiming_worker_reports_progress(store: JobStore) -> None:
    store.submit(submission())
    former = claim_job(store)
    store.reclaim("w1")
    claim_job(store, "w2")
    store.reset_lost_count(former)
    assert store.get(former.id).lost == 1


def test_returning_a_job_is_no_lost_attempt(store: JobStore) -> None:
    store.submit(submission())
    for _ in range(4):
        assert store.release(claim_job(store))
    assert claim_job(store).lost == 0


def test_a_cancelled_job_is_not_requeued(store: JobStore) -> None:
    """The worker exits before it is notified."""
    store.submit(submission())
    job = claim_job(store)
    store.send_signal(job.id, Signal.CANCEL)
    assert store.release(job, {"pictures": [1]})
    ended = store.get(job.id)
    assert (ended.state, ended.result) == (JobState.CANCELLED, {"pictures": [1]})


def test_a_worker_does_not_requeue_its_running_jobs(store: JobStore, database: Engine) -> None:
    """All leases have expired: the clock was set, the machine slept, or the database was locked."""
    store.submit(submission())
    store.submit(submission())
    mine, other = claim_job(store, "w1"), claim_job(store, "w2")
    with write_transaction(database) as connection:
        connection.execute(update(jobs).values(lease=seconds_ago(100)))
    assert store.reclaim(exclude=[mine.id]) == 1
    assert store.get(mine.id).state is JobState.RUNNING
    assert store.get(other.id).state is JobState.QUEUED
    assert store.succeed(mine, {})


def test_leases_use_the_databases_clock(
    store: JobStore, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose host's clock is an hour ahead takes no job of others."""
    store.submit(submission())
    job = claim_job(store)
    ahead = time.time() + 3600
    monkeypatch.setattr("safelight.database.coordination.time.time", lambda: ahead)
    taken = store.reclaim()
    assert taken == (0 if database.dialect.name == "postgresql" else 1)
    monkeypatch.undo()
    assert store.succeed(job, {}) is (taken == 0)


def test_virtual_time_never_goes_back(store: JobStore, database: Engine) -> None:
    first = store.submit(submission(cost=1.0))
    store.submit(submission(cost=5.0))
    early, late = claim_job(store), claim_job(store)
    assert early.id == first.id
    store.release(early)
    claim_job(store)
    assert late.state is JobState.RUNNING
    with read_transaction(database) as connection:
        assert connection.execute(select(virtual_clock.c.turn)).scalars().all() == [6.0]


def test_urgent_jobs_do_not_advance_virtual_time(store: JobStore) -> None:
    """An administrator's large jobs do not make new owners wait behind all earlier ones."""
    for _ in range(3):
        store.submit(submission("early", cost=1.0))
    store.submit(submission("admin", priority=10, cost=1000.0))
    assert claim_job(store).owner == "admin"
    store.submit(submission("late", cost=1.0))
    assert [claim_job(store).owner for _ in range(4)] == ["early", "late", "early", "early"]


def test_timings_are_of_whole_jobs(store: JobStore) -> None:
    for seconds in (10.0, None):
        store.submit(submission())
        job = claim_job(store)
        store.report(job, Progress(stage="first pass"))
        store.succeed(job, {}, seconds)
    assert store.submit(submission()).eta == 10.0


def test_claiming_only_before_the_owners_of_running_jobs(store: JobStore) -> None:
    for owner, priority in (("anna", 0), ("anna", 5), ("berta", 0), ("carla", -1)):
        store.submit(submission(owner, priority=priority))

    def before(priority: int, *owners: str) -> tuple[str, int] | None:
        job = store.claim("w1", preempting=Preemption(priority, frozenset(owners)))
        return None if job is None else (job.owner, job.priority)

    assert before(5, "anna") is None
    assert before(0, "anna") == ("anna", 5)
    assert before(0, "anna", "berta") is None
    assert before(0, "anna") == ("berta", 0)
    assert before(0, "anna") is None
    assert before(-1, "carla") == ("anna", 0)
    assert before(-1, "anna") == ("carla", -1)


def test_a_lease_from_before_the_clock_was_set_back_expires(store: JobStore, database: Engine) -> None:
    """Its worker is gone, and would count as alive for a week."""
    store.submit(submission())
    store.submit(submission())
    lost, alive = claim_job(store), claim_job(store, "w2")
    with write_transaction(database) as connection:
        connection.execute(update(jobs).values(lease=seconds_ago(-7 * 86400)))
    store.renew("w2", [alive])
    assert store.reclaim() == 1
    assert store.get(lost.id).state is JobState.QUEUED
    assert store.get(alive.id).state is JobState.RUNNING
