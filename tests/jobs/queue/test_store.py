from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import JsonValue
from sqlalchemy import Engine, event, func, insert, select, update
from tests.jobs.store_helpers import claim_job, notified_channels, submission
from tests.times import seconds_ago

from safelight.database import blobs, write_transaction
from safelight.database.notifications import Listener
from safelight.errors import (
    IdempotencyConflictError,
    InternalError,
    JobEndedError,
    JobMissingError,
    JobNotSkippableError,
    QueueFullError,
    StorageFullError,
)
from safelight.jobs.channels import Channel
from safelight.jobs.job import JobKind, JobState, Progress, Signal
from safelight.jobs.queue.store import JobStore
from safelight.jobs.queue.tables import events, job_blobs, job_inputs, jobs


def test_a_queued_job_has_a_position(ledger: JobStore, listener: Listener) -> None:
    first = ledger.submit(submission())
    assert notified_channels(listener) == {Channel.JOBS}
    second = ledger.submit(submission())
    assert notified_channels(listener) == {Channel.JOBS}
    assert (first.state, first.position, second.position) == (JobState.QUEUED, 1, 2)
    assert ledger.get(second.id) == second
    assert [job.id for job in ledger.find()] == [second.id, first.id]


@pytest.mark.parametrize("table", ["blobs", "job_blobs", "job_inputs", "events"])
def test_a_job_and_its_blobs_are_written_together_or_not_at_all(
    ledger: JobStore, database: Engine, table: str
) -> None:
    """An error during submission, such as a full disk, leaves no row of it."""

    def fail(_: object, __: object, statement: str, *___: object) -> None:
        if statement.startswith(f"INSERT INTO {table} "):
            raise StorageFullError

    job = submission(request={"prompt": "a cat", "init_image": {"blob": blobs.digest_of(b"a picture")}})
    pictures = {blobs.digest_of(b"a picture"): b"a picture"}
    event.listen(database, "before_cursor_execute", fail)
    with pytest.raises(StorageFullError):
        ledger.submit(job, pictures)
    event.remove(database, "before_cursor_execute", fail)
    assert row_counts(database) == [0, 0, 0, 0, 0]
    ledger.submit(job, pictures)
    assert row_counts(database) == [1, 1, 1, 1, 1]


def row_counts(database: Engine) -> list[int]:
    """The number of rows of jobs and of all tables that refer to them."""
    tables = (jobs, blobs.blobs, job_blobs, job_inputs, events)
    with database.connect() as connection:
        return [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]


def test_the_whole_life_cycle(ledger: JobStore) -> None:
    job_id = ledger.submit(submission(request_id="r-1", timeout=60.0)).id
    job = claim_job(ledger)
    assert (job.id, job.state, job.attempt, job.worker) == (job_id, JobState.RUNNING, 1, "w1")
    assert ledger.report(job, Progress(stage="first pass", step=5, steps=20, fraction=0.25), b"webp")
    assert ledger.preview(job_id) == b"webp"
    assert ledger.succeed(job, {"pictures": []}, 2.0)
    ended = ledger.get(job_id)
    assert (ended.state, ended.result, ended.error) == (JobState.SUCCEEDED, {"pictures": []}, None)
    assert ended.ended is not None
    assert ended.expires is not None
    assert ended.expires > ended.ended
    assert [event.data["state"] for event in ledger.events(0, job_id)] == ["queued", "running", "succeeded"]
    assert ledger.preview(job_id) is None


def test_events_come_in_order_after_a_given_one(ledger: JobStore) -> None:
    job_id = ledger.submit(submission()).id
    job = claim_job(ledger)
    for step in range(1, 4):
        ledger.report(job, Progress(stage="first pass", step=step, steps=4), b"x")
    found = ledger.events(0, job_id)
    assert [event.kind for event in found] == ["state", "state", *["progress", "preview"] * 3]
    assert [event.data.get("number") for event in found if event.kind == "preview"] == [1, 2, 3]
    assert ledger.events(found[3].id, job_id) == found[4:]
    assert ledger.last_event() == found[-1].id


def test_owners_alternate(ledger: JobStore) -> None:
    for _ in range(5):
        ledger.submit(submission("greedy"))
    ledger.submit(submission("modest"))
    assert [claim_job(ledger).owner for _ in range(3)] == ["greedy", "modest", "greedy"]


def test_a_new_owner_does_not_overtake_started_work(ledger: JobStore) -> None:
    for _ in range(4):
        ledger.submit(submission("early"))
    for _ in range(3):
        claim_job(ledger)
    ledger.submit(submission("late"))
    ledger.submit(submission("late"))
    assert [claim_job(ledger).owner for _ in range(3)] == ["early", "late", "late"]


def test_priority_goes_first(ledger: JobStore) -> None:
    ledger.submit(submission())
    urgent = ledger.submit(submission(priority=10))
    assert urgent.position == 1
    assert claim_job(ledger).id == urgent.id


def test_the_same_idempotency_key_returns_the_same_job(ledger: JobStore) -> None:
    first = ledger.submit(submission(idempotency_key="k"))
    assert ledger.submit(submission(idempotency_key="k")).id == first.id
    assert ledger.submit(submission("berta", idempotency_key="k")).id != first.id
    with pytest.raises(IdempotencyConflictError):
        ledger.submit(submission(idempotency_key="k", request={"prompt": "a dog"}))
    assert ledger.count_queued() == 2


def test_the_same_idempotency_key_submitted_concurrently(ledger: JobStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: ledger.submit(submission(idempotency_key="k")).id, range(16)))
    assert len(set(found)) == 1


def test_a_full_queue_refuses(ledger: JobStore) -> None:
    for _ in range(50):
        ledger.submit(submission())
    with pytest.raises(QueueFullError):
        ledger.submit(submission())
    assert len(ledger.find(limit=100)) == 50


def test_jobs_of_other_owners_are_not_found(ledger: JobStore) -> None:
    job_id = ledger.submit(submission("anna")).id
    for look in (ledger.get, lambda job_id, owner: ledger.send_signal(job_id, Signal.CANCEL, owner)):
        with pytest.raises(JobMissingError):
            look(job_id, "berta")
        with pytest.raises(JobMissingError):
            look("0" * 27, None)
    assert ledger.get(job_id, "anna").state is JobState.QUEUED
    assert ledger.find("berta") == []


def test_a_queued_job_is_cancelled_at_once(ledger: JobStore) -> None:
    job_id = ledger.submit(submission()).id
    assert ledger.send_signal(job_id, Signal.CANCEL, "anna").state is JobState.CANCELLED
    assert ledger.claim("w1") is None
    with pytest.raises(JobEndedError):
        ledger.send_signal(job_id, Signal.CANCEL)


def test_a_running_job_is_signalled(ledger: JobStore) -> None:
    ledger.submit(submission())
    ledger.submit(submission())
    job, other = claim_job(ledger), claim_job(ledger)
    assert ledger.signals([job.id, other.id]) == {}
    ledger.send_signal(job.id, Signal.SKIP)
    assert ledger.signals([job.id, other.id]) == {job.id: Signal.SKIP}
    ledger.clear_signal(job, Signal.SKIP)
    ledger.send_signal(job.id, Signal.CANCEL)
    assert ledger.renew("w1", [job, other]) == {job.id: Signal.CANCEL, other.id: None}
    assert ledger.mark_cancelled(job, {"pictures": [1]})
    assert ledger.get(job.id).state is JobState.CANCELLED
    assert ledger.get(job.id).result == {"pictures": [1]}


def test_a_failure_stores_its_error(ledger: JobStore) -> None:
    ledger.submit(submission())
    job = claim_job(ledger)
    ledger.fail(job, InternalError("It broke.", hint="Mend it."))
    error = ledger.get(job.id).error
    assert error is not None
    assert (error.code, error.message, error.hint) == ("internal", "It broke.", "Mend it.")


def test_old_jobs_are_deleted_after_their_retention(ledger: JobStore, database: Engine) -> None:
    ledger.submit(submission())
    ended = claim_job(ledger)
    ledger.succeed(ended, {}, 1.0)
    waiting = ledger.submit(submission())
    assert ledger.delete_expired(seconds_ago(0)) == 0
    assert ledger.delete_expired(seconds_ago(-30 * 86400)) == 1
    assert [job.id for job in ledger.find()] == [waiting.id]
    with database.connect() as connection:
        left = set(connection.execute(select(events.c.job_id)).scalars())
    assert left == {waiting.id}


def test_a_failed_submission_leaves_nothing(
    ledger: JobStore, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no event")

    monkeypatch.setattr("safelight.jobs.queue.store.add_event", broken)
    with pytest.raises(RuntimeError):
        ledger.submit(submission())
    assert listener.wait(0.1) == set()
    assert ledger.find() == []
    assert ledger.last_event() == 0


def test_counts(ledger: JobStore) -> None:
    for _ in range(3):
        ledger.submit(submission())
    claim_job(ledger)
    assert ledger.count_by_state()[JobState.QUEUED] == ledger.count_queued() == 2
    assert ledger.count_by_state()[JobState.RUNNING] == 1
    assert ledger.count_by_state()[JobState.FAILED] == 0


def test_reads_are_not_blocked_by_a_writer(ledger: JobStore, database: Engine) -> None:
    job_id = ledger.submit(submission()).id
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with write_transaction(database) as connection:
            connection.execute(update(jobs).values(progress=None))
            entered.set()
            leave.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert entered.wait(10)
        started = time.monotonic()
        assert ledger.get(job_id).state is JobState.QUEUED
        assert time.monotonic() - started < 1
    finally:
        leave.set()
        holder.join()


def test_cancelling_wins_over_other_signals(ledger: JobStore) -> None:
    ledger.submit(submission())
    job = claim_job(ledger)
    for said, heard in (
        (Signal.SKIP, Signal.SKIP),
        (Signal.FINISH, Signal.FINISH),
        (Signal.SKIP, Signal.FINISH),
        (Signal.CANCEL, Signal.CANCEL),
        (Signal.FINISH, Signal.CANCEL),
        (Signal.SKIP, Signal.CANCEL),
    ):
        ledger.send_signal(job.id, said)
        assert ledger.signals([job.id]) == {job.id: heard}


@pytest.mark.parametrize("kind", [JobKind.SCAN, JobKind.UPSCALE])
def test_only_generation_jobs_accept_skip(ledger: JobStore, kind: JobKind) -> None:
    waiting = ledger.submit(submission(kind=kind))
    with pytest.raises(JobNotSkippableError):
        ledger.send_signal(waiting.id, Signal.SKIP)
    job = claim_job(ledger)
    with pytest.raises(JobNotSkippableError):
        ledger.send_signal(job.id, Signal.SKIP)
    assert ledger.signals([job.id]) == {}
    ledger.send_signal(job.id, Signal.CANCEL)
    assert ledger.signals([job.id]) == {job.id: Signal.CANCEL}


def test_one_owner_has_one_turn_after_another(ledger: JobStore, database: Engine) -> None:
    """However many of their jobs are submitted at the same time."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: ledger.submit(submission()), range(24)))
    with database.connect() as connection:
        turns = list(connection.execute(select(jobs.c.turn).order_by(jobs.c.turn)).scalars())
    assert turns == [float(number) for number in range(1, 25)]


def test_event_ids_suffice_for_a_busy_year(ledger: JobStore, database: Engine) -> None:
    job_id = ledger.submit(submission()).id
    with write_transaction(database) as connection:
        tall = insert(events).values(id=2**40, job_id=job_id, kind="state", data="{}", created=seconds_ago(0))
        connection.execute(tall)
    assert ledger.last_event() == 2**40


def test_the_queue_is_read_in_index_order(database: Engine) -> None:
    """Claiming reads the first few jobs and sorts nothing, however many wait."""
    if database.dialect.name != "sqlite":
        pytest.skip("PostgreSQL goes through small tables as a whole")
    order = "SELECT * FROM jobs WHERE state = 'queued' ORDER BY priority DESC, turn, id LIMIT 8"
    with database.connect() as connection:
        plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {order}").all())
    assert "jobs_by_turn" in plan
    assert "TEMP B-TREE" not in plan


def test_lists_read_neither_blobs_nor_results(ledger: JobStore, database: Engine) -> None:
    """They can be megabytes each: here they could not even be parsed."""
    with write_transaction(database) as connection:
        images: list[JsonValue] = [{"blob": blobs.put(connection, b"x")}] * 3
    scan = ledger.submit(submission(kind=JobKind.SCAN, request={"images": images, "tiles": True}))
    drawing = ledger.submit(submission(request={"prompt": "a cat", "seed": 1}))
    with write_transaction(database) as connection:
        connection.execute(update(jobs).where(jobs.c.id == scan.id).values(request="no JSON"))
        connection.execute(update(jobs).values(result="no JSON"))
    found = ledger.find()
    assert [job.request for job in found] == [{"prompt": "a cat", "seed": 1}, {"images": 3, "tiles": True}]
    assert [job.result for job in found] == [None, None]
    assert [job.id for job in found] == [drawing.id, scan.id]
