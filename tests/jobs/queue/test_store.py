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


def test_a_queued_job_has_a_position(store: JobStore, listener: Listener) -> None:
    first = store.submit(submission())
    assert notified_channels(listener) == {Channel.JOBS}
    second = store.submit(submission())
    assert notified_channels(listener) == {Channel.JOBS}
    assert (first.state, first.position, second.position) == (JobState.QUEUED, 1, 2)
    assert store.get(second.id) == second
    assert [job.id for job in store.find()] == [second.id, first.id]


@pytest.mark.parametrize("table", ["blobs", "job_blobs", "job_inputs", "events"])
def test_a_job_and_its_blobs_are_written_together_or_not_at_all(
    store: JobStore, database: Engine, table: str
) -> None:
    """An error during submission, such as a full disk, leaves no row of it."""

    def fail(_: object, __: object, statement: str, *___: object) -> None:
        if statement.startswith(f"INSERT INTO {table} "):
            raise StorageFullError

    job = submission(request={"prompt": "a cat", "init_image": {"blob": blobs.digest_of(b"a picture")}})
    pictures = {blobs.digest_of(b"a picture"): b"a picture"}
    event.listen(database, "before_cursor_execute", fail)
    with pytest.raises(StorageFullError):
        store.submit(job, pictures)
    event.remove(database, "before_cursor_execute", fail)
    assert row_counts(database) == [0, 0, 0, 0, 0]
    store.submit(job, pictures)
    assert row_counts(database) == [1, 1, 1, 1, 1]


def row_counts(database: Engine) -> list[int]:
    """The number of rows of jobs and of all tables that refer to them."""
    tables = (jobs, blobs.blobs, job_blobs, job_inputs, events)
    with database.connect() as connection:
        return [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]


def test_the_whole_life_cycle(store: JobStore) -> None:
    job_id = store.submit(submission(request_id="r-1", timeout=60.0)).id
    job = claim_job(store)
    assert (job.id, job.state, job.attempt, job.worker) == (job_id, JobState.RUNNING, 1, "w1")
    assert store.report(job, Progress(stage="first pass", step=5, steps=20, fraction=0.25), b"webp")
    assert store.preview(job_id) == b"webp"
    assert store.succeed(job, {"pictures": []}, 2.0)
    ended = store.get(job_id)
    assert (ended.state, ended.result, ended.error) == (JobState.SUCCEEDED, {"pictures": []}, None)
    assert ended.ended is not None
    assert ended.expires is not None
    assert ended.expires > ended.ended
    assert [event.data["state"] for event in store.events(0, job_id)] == ["queued", "running", "succeeded"]
    assert store.preview(job_id) is None


def test_events_come_in_order_after_a_given_one(store: JobStore) -> None:
    job_id = store.submit(submission()).id
    job = claim_job(store)
    for step in range(1, 4):
        store.report(job, Progress(stage="first pass", step=step, steps=4), b"x")
    found = store.events(0, job_id)
    assert [event.kind for event in found] == ["state", "state", *["progress", "preview"] * 3]
    assert [event.data.get("number") for event in found if event.kind == "preview"] == [1, 2, 3]
    assert store.events(found[3].id, job_id) == found[4:]
    assert store.last_event() == found[-1].id


def test_owners_alternate(store: JobStore) -> None:
    for _ in range(5):
        store.submit(submission("greedy"))
    store.submit(submission("modest"))
    assert [claim_job(store).owner for _ in range(3)] == ["greedy", "modest", "greedy"]


def test_a_new_owner_does_not_overtake_started_work(store: JobStore) -> None:
    for _ in range(4):
        store.submit(submission("early"))
    for _ in range(3):
        claim_job(store)
    store.submit(submission("late"))
    store.submit(submission("late"))
    assert [claim_job(store).owner for _ in range(3)] == ["early", "late", "late"]


def test_priority_goes_first(store: JobStore) -> None:
    store.submit(submission())
    urgent = store.submit(submission(priority=10))
    assert urgent.position == 1
    assert claim_job(store).id == urgent.id


def test_the_same_idempotency_key_returns_the_same_job(store: JobStore) -> None:
    first = store.submit(submission(idempotency_key="k"))
    assert store.submit(submission(idempotency_key="k")).id == first.id
    assert store.submit(submission("berta", idempotency_key="k")).id != first.id
    with pytest.raises(IdempotencyConflictError):
        store.submit(submission(idempotency_key="k", request={"prompt": "a dog"}))
    with pytest.raises(IdempotencyConflictError):
        store.submit(submission(idempotency_key="k", parent="0" * 22))
    assert store.count_queued() == 2


def test_the_same_idempotency_key_submitted_concurrently(store: JobStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: store.submit(submission(idempotency_key="k")).id, range(16)))
    assert len(set(found)) == 1


def test_a_full_queue_refuses(store: JobStore) -> None:
    for _ in range(50):
        store.submit(submission())
    with pytest.raises(QueueFullError):
        store.submit(submission())
    assert len(store.find(limit=100)) == 50


def test_jobs_of_other_owners_are_not_found(store: JobStore) -> None:
    job_id = store.submit(submission("anna")).id
    for look in (store.get, lambda job_id, owner: store.send_signal(job_id, Signal.CANCEL, owner)):
        with pytest.raises(JobMissingError):
            look(job_id, "berta")
        with pytest.raises(JobMissingError):
            look("0" * 27, None)
    assert store.get(job_id, "anna").state is JobState.QUEUED
    assert store.find("berta") == []


def test_a_queued_job_is_cancelled_at_once(store: JobStore) -> None:
    job_id = store.submit(submission()).id
    assert store.send_signal(job_id, Signal.CANCEL, "anna").state is JobState.CANCELLED
    assert store.claim("w1") is None
    with pytest.raises(JobEndedError):
        store.send_signal(job_id, Signal.CANCEL)


def test_a_running_job_is_signalled(store: JobStore) -> None:
    store.submit(submission())
    store.submit(submission())
    job, other = claim_job(store), claim_job(store)
    assert store.signals([job.id, other.id]) == {}
    store.send_signal(job.id, Signal.SKIP)
    assert store.signals([job.id, other.id]) == {job.id: Signal.SKIP}
    store.clear_signal(job, Signal.SKIP)
    store.send_signal(job.id, Signal.CANCEL)
    assert store.renew("w1", [job, other]) == {job.id: Signal.CANCEL, other.id: None}
    assert store.mark_cancelled(job, {"pictures": [1]})
    assert store.get(job.id).state is JobState.CANCELLED
    assert store.get(job.id).result == {"pictures": [1]}


def test_a_failure_stores_its_error(store: JobStore) -> None:
    store.submit(submission())
    job = claim_job(store)
    store.fail(job, InternalError("It broke.", hint="Mend it."))
    error = store.get(job.id).error
    assert error is not None
    assert (error.code, error.message, error.hint) == ("internal", "It broke.", "Mend it.")


def test_old_jobs_are_deleted_after_their_retention(store: JobStore, database: Engine) -> None:
    store.submit(submission())
    ended = claim_job(store)
    store.succeed(ended, {}, 1.0)
    waiting = store.submit(submission())
    assert store.delete_expired(seconds_ago(0)) == 0
    assert store.delete_expired(seconds_ago(-30 * 86400)) == 1
    assert [job.id for job in store.find()] == [waiting.id]
    with database.connect() as connection:
        left = set(connection.execute(select(events.c.job_id)).scalars())
    assert left == {waiting.id}


def test_a_failed_submission_leaves_nothing(
    store: JobStore, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no event")

    monkeypatch.setattr("safelight.jobs.queue.store.add_event", broken)
    with pytest.raises(RuntimeError):
        store.submit(submission())
    assert listener.wait(0.1) == set()
    assert store.find() == []
    assert store.last_event() == 0


def test_counts(store: JobStore) -> None:
    for _ in range(3):
        store.submit(submission())
    claim_job(store)
    assert store.count_by_state()[JobState.QUEUED] == store.count_queued() == 2
    assert store.count_by_state()[JobState.RUNNING] == 1
    assert store.count_by_state()[JobState.FAILED] == 0


def test_reads_are_not_blocked_by_a_writer(store: JobStore, database: Engine) -> None:
    job_id = store.submit(submission()).id
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
        assert store.get(job_id).state is JobState.QUEUED
        assert time.monotonic() - started < 1
    finally:
        leave.set()
        holder.join()


def test_cancelling_wins_over_other_signals(store: JobStore) -> None:
    store.submit(submission())
    job = claim_job(store)
    for said, heard in (
        (Signal.SKIP, Signal.SKIP),
        (Signal.FINISH, Signal.FINISH),
        (Signal.SKIP, Signal.FINISH),
        (Signal.CANCEL, Signal.CANCEL),
        (Signal.FINISH, Signal.CANCEL),
        (Signal.SKIP, Signal.CANCEL),
    ):
        store.send_signal(job.id, said)
        assert store.signals([job.id]) == {job.id: heard}


@pytest.mark.parametrize("kind", [JobKind.SCAN, JobKind.UPSCALE])
def test_only_generation_jobs_accept_skip(store: JobStore, kind: JobKind) -> None:
    waiting = store.submit(submission(kind=kind))
    with pytest.raises(JobNotSkippableError):
        store.send_signal(waiting.id, Signal.SKIP)
    job = claim_job(store)
    with pytest.raises(JobNotSkippableError):
        store.send_signal(job.id, Signal.SKIP)
    assert store.signals([job.id]) == {}
    store.send_signal(job.id, Signal.CANCEL)
    assert store.signals([job.id]) == {job.id: Signal.CANCEL}


def test_one_owner_has_one_turn_after_another(store: JobStore, database: Engine) -> None:
    """However many of their jobs are submitted at the same time."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.submit(submission()), range(24)))
    with database.connect() as connection:
        turns = list(connection.execute(select(jobs.c.turn).order_by(jobs.c.turn)).scalars())
    assert turns == [float(number) for number in range(1, 25)]


def test_event_ids_suffice_for_a_busy_year(store: JobStore, database: Engine) -> None:
    job_id = store.submit(submission()).id
    with write_transaction(database) as connection:
        tall = insert(events).values(id=2**40, job_id=job_id, kind="state", data="{}", created=seconds_ago(0))
        connection.execute(tall)
    assert store.last_event() == 2**40


def test_the_queue_is_read_in_index_order(database: Engine) -> None:
    """Claiming reads the first few jobs and sorts nothing, however many wait."""
    if database.dialect.name != "sqlite":
        pytest.skip("PostgreSQL goes through small tables as a whole")
    order = "SELECT * FROM jobs WHERE state = 'queued' ORDER BY priority DESC, turn, id LIMIT 8"
    with database.connect() as connection:
        plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {order}").all())
    assert "jobs_by_turn" in plan
    assert "TEMP B-TREE" not in plan


def test_lists_read_neither_blobs_nor_results(store: JobStore, database: Engine) -> None:
    """They can be megabytes each: here they could not even be parsed."""
    with write_transaction(database) as connection:
        images: list[JsonValue] = [{"blob": blobs.put(connection, b"x")}] * 3
    scan = store.submit(submission(kind=JobKind.SCAN, request={"images": images, "tiles": True}))
    drawing = store.submit(submission(request={"prompt": "a cat", "seed": 1}))
    with write_transaction(database) as connection:
        connection.execute(update(jobs).where(jobs.c.id == scan.id).values(request="no JSON"))
        connection.execute(update(jobs).values(result="no JSON"))
    found = store.find()
    assert [job.request for job in found] == [{"prompt": "a cat", "seed": 1}, {"images": 3, "tiles": True}]
    assert [job.result for job in found] == [None, None]
    assert [job.id for job in found] == [drawing.id, scan.id]


def test_several_jobs_are_cancelled_at_once(store: JobStore, listener: Listener) -> None:
    running = store.submit(submission()).id
    claim_job(store)
    ended = store.submit(submission()).id
    store.send_signal(ended, Signal.CANCEL)
    queued = store.submit(submission()).id
    others = store.submit(submission("bert")).id
    notified_channels(listener)
    states = store.cancel_many("anna", [running, ended, queued, others, "0" * 27, queued])
    assert states == {
        running: JobState.RUNNING,
        ended: JobState.CANCELLED,
        queued: JobState.QUEUED,
        others: None,
        "0" * 27: None,
    }
    assert notified_channels(listener) == {Channel.COMMANDS}
    assert store.signals([running]) == {running: Signal.CANCEL}
    assert store.get(queued).state is JobState.CANCELLED
    assert store.get(others).state is JobState.QUEUED


def test_all_queued_jobs_of_an_owner_are_cancelled(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safelight.jobs.queue.store.CANCELLED_AT_ONCE", 3)
    mine = [store.submit(submission()).id for _ in range(7)]
    theirs = store.submit(submission("bert")).id
    running = claim_job(store).id
    assert store.cancel_many("anna").keys() == set(mine) - {running}
    assert store.count_by_state() == dict.fromkeys(JobState, 0) | {
        JobState.CANCELLED: 6,
        JobState.RUNNING: 1,
        JobState.QUEUED: 1,
    }
    assert store.get(theirs).state is JobState.QUEUED


def test_cleared_jobs_are_in_no_list(store: JobStore) -> None:
    ended = [store.submit(submission()).id for _ in range(3)]
    for job_id in ended:
        store.send_signal(job_id, Signal.CANCEL)
    queued = store.submit(submission()).id
    theirs = store.submit(submission("bert")).id
    store.send_signal(theirs, Signal.CANCEL)
    assert store.clear_ended("anna", [ended[0], queued, theirs]) == 1
    assert [job.id for job in store.find()] == [theirs, queued, ended[2], ended[1]]
    assert store.clear_ended("anna") == 2
    assert store.clear_ended("anna") == 0
    assert [job.id for job in store.find()] == [theirs, queued]
    shown = store.overview(None, waiting=9, ended=9, max_chars=1000, max_total_chars=1000)
    assert [job.id for job in shown] == [theirs, queued]
    assert store.get(ended[0]).state is JobState.CANCELLED
    assert store.queue_state().clears == 2
