from __future__ import annotations

import time

import pytest
from sqlalchemy import Engine, event, insert, update
from tests.jobs.store_helpers import claim_job, submission
from tests.times import seconds_ago

from safelight.database import write_transaction
from safelight.jobs.job import PAUSED, Job, JobState, Progress, Signal
from safelight.jobs.queue.scheduling import TIME_SLICE
from safelight.jobs.queue.store import JobStore
from safelight.jobs.queue.tables import jobs, workers


def test_the_eta_comes_from_measured_times(store: JobStore) -> None:
    store.submit(submission(cost=2.0))
    assert store.get(store.find()[0].id).eta is None
    store.succeed(claim_job(store), {}, 10.0)
    first = store.submit(submission(cost=3.0))
    second = store.submit(submission(cost=1.0))
    assert first.eta == pytest.approx(15.0)
    assert second.eta == pytest.approx(20.0)
    job = claim_job(store)
    eta = store.get(job.id).eta
    assert eta is not None
    assert 14.0 < eta <= 15.0


def test_a_jobs_own_rate_is_used_once_it_is_known(store: JobStore, database: Engine) -> None:
    store.submit(submission())
    job = claim_job(store)
    store.report(job, Progress(stage="first pass", fraction=0.25))
    with write_transaction(database) as connection:
        connection.execute(update(jobs).values(started=seconds_ago(10)))
    assert store.get(job.id).eta == pytest.approx(30.0, abs=1.0)


def test_a_host_whose_clock_is_ahead_gives_the_same_eta(
    store: JobStore, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One host records when a job started, another reports how long it has run."""
    if database.dialect.name == "sqlite":
        pytest.skip("there is one host, and its clock")
    record_timing(store)
    ahead = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: ahead)
    store.submit(submission())
    job = claim_job(store)
    monkeypatch.undo()
    assert eta(store.get(job.id)) == pytest.approx(10.0, abs=5.0)
    monkeypatch.setattr(time, "time", lambda: ahead)
    assert eta(store.get(job.id)) == pytest.approx(10.0, abs=5.0)
    moments = [job.created, job.started, *(event.created for event in store.events(0))]
    assert all(moment is not None and moment.timestamp() < ahead - 60 for moment in moments)
    assert int(job.id[:11], 16) / 1000 < ahead - 60  # its id, which sorts by time


def worker(database: Engine, name: str, seen: float = 0.0) -> None:
    values = {
        "host": "here",
        "pid": 1,
        "device": "cpu",
        "state": "idle",
        "checkpoints": "[]",
        "memory": 1.0,
        "started": seconds_ago(0),
    }
    with write_transaction(database) as connection:
        connection.execute(insert(workers).values(name=name, seen=seconds_ago(seen), **values))


def record_timing(store: JobStore, seconds: float = 10.0) -> None:
    """Record how long one unit of work takes."""
    store.submit(submission())
    store.succeed(claim_job(store), {}, seconds)


def eta(job: Job) -> float:
    assert job.eta is not None
    return job.eta


def test_workers_share_the_queue(store: JobStore, database: Engine) -> None:
    record_timing(store)
    queue = [store.submit(submission()) for _ in range(5)]
    assert eta(queue[4]) == pytest.approx(50.0)
    for name in ("w1", "w2"):
        worker(database, name)
    worker(database, "gone", seen=60.0)
    assert eta(store.get(queue[4].id)) == pytest.approx(40.0 / 2 + 10.0)


def test_batched_jobs_run_at_the_same_time(store: JobStore, database: Engine) -> None:
    """Four of them end after ten seconds, all at once: the next one waits ten seconds and not forty."""
    record_timing(store)
    for _ in range(4):
        store.submit(submission())
    together = [claim_job(store, "w1") for _ in range(4)]
    for job in together:
        store.report(job, Progress(stage="first pass", fraction=0.5))
    with write_transaction(database) as connection:
        began = update(jobs).where(jobs.c.state == JobState.RUNNING)
        connection.execute(began.values(started=seconds_ago(10)))
    assert eta(store.submit(submission())) == pytest.approx(10.0 + 10.0, abs=1.0)


def test_work_of_an_earlier_attempt_does_not_count_in_the_rate(store: JobStore) -> None:
    """A moment after its restart it is nearly done, though an image takes as long as ever."""
    record_timing(store)
    store.submit(submission(cost=4.0))
    claim_job(store, "w1")
    store.reclaim("w1")
    again = claim_job(store, "w1")
    store.report(again, Progress(stage="first pass", picture=3, pictures=4, fraction=0.75))
    assert eta(store.get(again.id)) == pytest.approx(10.0, abs=0.5)


def test_etas_of_a_page_equal_those_of_single_jobs(store: JobStore) -> None:
    record_timing(store)
    urgent = [5, 0, 0, 7, -3, 0]
    for number, priority in enumerate(urgent):
        store.submit(submission(f"owner {number % 2}", priority=priority, cost=number + 1.0))
    claim_job(store)
    page = store.find()
    for job in page:
        alone = store.get(job.id)
        assert alone.position == job.position
        assert alone.eta == (None if job.eta is None else pytest.approx(job.eta, abs=0.5))
    assert sorted(job.position for job in page if job.position) == [1, 2, 3, 4, 5]


def test_a_page_needs_no_more_statements_than_a_job(store: JobStore, database: Engine) -> None:
    for _ in range(40):
        store.submit(submission())
    statements: list[str] = []
    event.listen(database, "before_cursor_execute", lambda *given: statements.append(given[2]))
    store.find(limit=40)
    assert len(statements) < 15


def test_without_timings_there_is_no_eta(store: JobStore) -> None:
    record_timing(store)
    store.submit(submission(checkpoint="never used"))
    known = store.submit(submission(priority=-1))
    assert (known.position, known.eta) == (2, None)
    assert [job.eta for job in store.find()] == [None] * 3
    store.send_signal(store.find()[1].id, Signal.CANCEL)
    assert eta(store.get(known.id)) == 10.0


def running_at(
    store: JobStore, database: Engine, owner: str, fraction: float, stage: str, seconds: float
) -> Job:
    """A job that has run for some seconds, apart from pauses."""
    store.submit(submission(owner))
    job = claim_job(store)
    store.report(job, Progress(stage=stage, fraction=fraction, seconds=seconds))
    with write_transaction(database) as connection:
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(started=seconds_ago(10_000)))
    return job


def test_pauses_do_not_count_in_the_rate(store: JobStore, database: Engine) -> None:
    job = running_at(store, database, "anna", 0.25, "first pass", 10.0)
    assert eta(store.get(job.id)) == pytest.approx(30.0)


def test_a_paused_job_ends_after_the_jobs_it_alternates_with(store: JobStore, database: Engine) -> None:
    """A short job delays a long one by its own length, and is delayed by the same."""
    long = running_at(store, database, "anna", 0.5, PAUSED, 1000.0)
    assert eta(store.get(long.id)) == pytest.approx(1000.0)
    short = running_at(store, database, "berta", 0.5, "first pass", 20.0)
    assert eta(store.get(long.id)) == pytest.approx(1020.0)
    assert eta(store.get(short.id)) == pytest.approx(40.0)
    elsewhere = store.submit(submission("carla"))
    store.claim("w2")
    assert eta(store.get(short.id)) == pytest.approx(40.0)
    assert store.get(elsewhere.id).worker == "w2"


def test_a_waiting_job_need_not_wait_for_the_end_of_another_owners_long_job(
    store: JobStore, database: Engine
) -> None:
    record_timing(store, 2.0)
    running_at(store, database, "anna", 0.5, "first pass", 1000.0)
    short = store.submit(submission("berta"))
    assert eta(short) == pytest.approx(2.0 + TIME_SLICE + 2.0)
    assert eta(store.submit(submission("anna"))) == pytest.approx(1000.0 + 2.0 + 2.0)
    assert eta(store.submit(submission("carla", priority=-1))) == pytest.approx(1000.0 + 4.0 + 2.0)
