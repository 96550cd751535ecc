from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, Engine, select, update

from safelight.database import writing
from safelight.errors import (
    IdempotencyError,
    InternalError,
    JobMissingError,
    JobOverError,
    QueueFullError,
)
from safelight.jobs.job import Job, JobKind, JobState, Progress, Signal, Submission
from safelight.jobs.ledger import MAX_ATTEMPTS, Ledger
from safelight.jobs.tables import events, jobs


class Turns(list[str]):
    """Stands for the durable queue: names of the turns that were put there by transactions that were committed."""

    def put(self, _connection: Connection, name: str) -> None:
        self.append(name)


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def ledger(database: Engine, turns: Turns) -> Iterator[Ledger]:
    return Ledger(database, turns.put, capacity=50)


def submission(owner: str = "anna", **fields: object) -> Submission:
    given: dict[str, object] = {"kind": JobKind.GENERATE, "request": {"prompt": "a cat"}, "owner": owner}
    return Submission.model_validate(given | fields)


def begun(ledger: Ledger, worker: str = "w1") -> Job:
    job = ledger.claim(worker)
    assert job is not None
    return job


def test_a_job_waits_in_its_place(ledger: Ledger, turns: Turns) -> None:
    first, second = ledger.submit(submission()), ledger.submit(submission())
    assert (first.state, first.position, second.position) == (JobState.QUEUED, 1, 2)
    assert turns == [first.id, second.id]
    assert ledger.get(second.id) == second
    assert [job.id for job in ledger.find()] == [second.id, first.id]


def test_the_whole_way(ledger: Ledger) -> None:
    job_id = ledger.submit(submission(request_id="r-1", timeout=60.0)).id
    job = begun(ledger)
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


def test_events_come_in_order_after_the_last_one(ledger: Ledger) -> None:
    job_id = ledger.submit(submission()).id
    job = begun(ledger)
    for step in range(1, 4):
        ledger.report(job, Progress(stage="first pass", step=step, steps=4), b"x")
    found = ledger.events(0, job_id)
    assert [event.kind for event in found] == ["state", "state", *["progress", "preview"] * 3]
    assert [event.data.get("number") for event in found if event.kind == "preview"] == [1, 2, 3]
    assert ledger.events(found[3].id, job_id) == found[4:]
    assert ledger.last_event() == found[-1].id


def test_owners_take_turns(ledger: Ledger) -> None:
    for _ in range(5):
        ledger.submit(submission("greedy"))
    ledger.submit(submission("modest"))
    assert [begun(ledger).owner for _ in range(3)] == ["greedy", "modest", "greedy"]


def test_a_latecomer_does_not_overtake_what_was_begun_for(ledger: Ledger) -> None:
    for _ in range(4):
        ledger.submit(submission("early"))
    for _ in range(3):
        begun(ledger)
    ledger.submit(submission("late"))
    ledger.submit(submission("late"))
    assert [begun(ledger).owner for _ in range(3)] == ["early", "late", "late"]


def test_priority_goes_first(ledger: Ledger) -> None:
    ledger.submit(submission())
    urgent = ledger.submit(submission(priority=10))
    assert urgent.position == 1
    assert begun(ledger).id == urgent.id


def test_the_loaded_checkpoint_is_preferred_within_bounds(ledger: Ledger) -> None:
    other = ledger.submit(submission(checkpoint="other"))
    same = [ledger.submit(submission(checkpoint="same")) for _ in range(8)]
    order = []
    for _ in range(6):
        job = ledger.claim("w1", loaded=frozenset({"same"}))
        assert job is not None
        order.append(job.id)
    assert order == [*(job.id for job in same[:4]), other.id, same[4].id]


def test_what_does_not_fit_beside_holds_its_place(ledger: Ledger) -> None:
    first = ledger.submit(submission(checkpoint="b"))
    ledger.submit(submission(checkpoint="a"))
    assert ledger.claim("w1", fits=lambda job: job.id != first.id) is None
    assert begun(ledger).id == first.id


def test_the_same_key_gives_the_same_job(ledger: Ledger, turns: Turns) -> None:
    first = ledger.submit(submission(idempotency_key="k"))
    assert ledger.submit(submission(idempotency_key="k")).id == first.id
    assert ledger.submit(submission("berta", idempotency_key="k")).id != first.id
    with pytest.raises(IdempotencyError):
        ledger.submit(submission(idempotency_key="k", request={"prompt": "a dog"}))
    assert len(turns) == 2


def test_the_same_key_at_the_same_moment(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: ledger.submit(submission(idempotency_key="k")).id, range(16)))
    assert len(set(found)) == 1


def test_two_workers_never_get_the_same_job(ledger: Ledger) -> None:
    submitted = {ledger.submit(submission(f"owner {number % 3}")).id for number in range(30)}

    def work(name: str) -> list[str]:
        done = []
        while job := ledger.claim(name):
            done.append(job.id)
            ledger.succeed(job, {}, 0.1)
        return done

    with ThreadPoolExecutor(4) as pool:
        done = [job_id for part in pool.map(work, "abcd") for job_id in part]
    # with another database a busy row is left to its worker, so that one may find nothing and leave
    while job := ledger.claim("last"):
        done.append(job.id)
        ledger.succeed(job, {}, 0.1)
    assert len(done) == 30
    assert set(done) == submitted


def test_a_full_queue_refuses(ledger: Ledger) -> None:
    for _ in range(50):
        ledger.submit(submission())
    with pytest.raises(QueueFullError):
        ledger.submit(submission())
    assert len(ledger.find(limit=100)) == 50


def test_other_peoples_jobs_are_not_there(ledger: Ledger) -> None:
    job_id = ledger.submit(submission("anna")).id
    for look in (ledger.get, lambda job_id, owner: ledger.signal(job_id, Signal.CANCEL, owner)):
        with pytest.raises(JobMissingError):
            look(job_id, "berta")
        with pytest.raises(JobMissingError):
            look("0" * 27, None)
    assert ledger.get(job_id, "anna").state is JobState.QUEUED
    assert ledger.find("berta") == []


def test_a_waiting_job_is_cancelled_at_once(ledger: Ledger) -> None:
    job_id = ledger.submit(submission()).id
    assert ledger.signal(job_id, Signal.CANCEL, "anna").state is JobState.CANCELLED
    assert ledger.claim("w1") is None
    with pytest.raises(JobOverError):
        ledger.signal(job_id, Signal.CANCEL)


def test_a_running_job_is_told(ledger: Ledger) -> None:
    ledger.submit(submission())
    ledger.submit(submission())
    job, other = begun(ledger), begun(ledger)
    assert ledger.signals([job.id, other.id]) == {}
    ledger.signal(job.id, Signal.SKIP)
    assert ledger.signals([job.id, other.id]) == {job.id: Signal.SKIP}
    ledger.clear_signal(job, Signal.SKIP)
    ledger.signal(job.id, Signal.CANCEL)
    assert ledger.renew("w1", [job, other]) == {job.id: Signal.CANCEL, other.id: None}
    assert ledger.cancelled(job, {"pictures": [1]})
    assert ledger.get(job.id).state is JobState.CANCELLED
    assert ledger.get(job.id).result == {"pictures": [1]}


def test_failure_keeps_its_reason(ledger: Ledger) -> None:
    ledger.submit(submission())
    job = begun(ledger)
    ledger.fail(job, InternalError("It broke.", hint="Mend it."))
    error = ledger.get(job.id).error
    assert error is not None
    assert (error.code, error.message, error.hint) == ("internal", "It broke.", "Mend it.")


def test_a_lost_workers_job_goes_back_and_its_word_counts_no_more(
    ledger: Ledger, database: Engine, turns: Turns
) -> None:
    ledger.submit(submission())
    lost = begun(ledger, "w1")
    assert ledger.take_back() == 0
    with writing(database) as connection:
        connection.execute(update(jobs).values(lease=time.time() - 1))
    assert ledger.take_back() == 1
    assert len(turns) == 2
    successor = begun(ledger, "w2")
    assert (successor.id, successor.attempt) == (lost.id, 2)
    assert not ledger.report(lost, Progress(stage="first pass"))
    assert not ledger.succeed(lost, {"pictures": ["wrong"]}, 1.0)
    assert not ledger.fail(lost, InternalError())
    assert not ledger.give_back(lost)
    assert ledger.renew("w1", [lost]) == {lost.id: Signal.CANCEL}
    assert ledger.succeed(successor, {"pictures": ["right"]}, 1.0)
    assert ledger.get(lost.id).result == {"pictures": ["right"]}


def test_a_worker_that_comes_back_puts_back_its_own(ledger: Ledger) -> None:
    ledger.submit(submission())
    ledger.submit(submission())
    mine, other = begun(ledger, "w1"), begun(ledger, "w2")
    assert ledger.take_back("w1") == 1
    assert ledger.get(mine.id).state is JobState.QUEUED
    assert ledger.get(other.id).state is JobState.RUNNING


def test_a_job_that_kills_its_workers_ends(ledger: Ledger) -> None:
    job_id = ledger.submit(submission()).id
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert begun(ledger).attempt == attempt
        ledger.take_back("w1")
    ended = ledger.get(job_id)
    assert ended.state is JobState.FAILED
    assert ended.error is not None
    assert ended.error.code == "worker.lost"


def test_what_is_given_back_is_next_and_loses_no_attempt(ledger: Ledger) -> None:
    first = ledger.submit(submission())
    ledger.submit(submission())
    job = begun(ledger)
    assert ledger.give_back(job)
    again = begun(ledger, "w2")
    assert (again.id, again.attempt) == (first.id, 1)


def test_a_cancelled_job_of_a_lost_worker_is_not_begun_again(ledger: Ledger) -> None:
    ledger.submit(submission())
    job = begun(ledger)
    ledger.signal(job.id, Signal.CANCEL)
    ledger.take_back("w1")
    assert ledger.get(job.id).state is JobState.CANCELLED


def test_the_outlook_comes_from_measured_times(ledger: Ledger) -> None:
    ledger.submit(submission(cost=2.0))
    assert ledger.get(ledger.find()[0].id).eta is None
    ledger.succeed(begun(ledger), {}, 10.0)
    first = ledger.submit(submission(cost=3.0))
    second = ledger.submit(submission(cost=1.0))
    assert first.eta == pytest.approx(15.0)
    assert second.eta == pytest.approx(20.0)
    job = begun(ledger)
    eta = ledger.get(job.id).eta
    assert eta is not None
    assert 14.0 < eta <= 15.0


def test_own_pace_counts_once_it_is_known(ledger: Ledger, database: Engine) -> None:
    ledger.submit(submission())
    job = begun(ledger)
    ledger.report(job, Progress(stage="first pass", fraction=0.25))
    with writing(database) as connection:
        connection.execute(update(jobs).values(started=time.time() - 10))
    assert ledger.get(job.id).eta == pytest.approx(30.0, abs=1.0)


def test_the_past_is_forgotten_when_its_time_is_over(ledger: Ledger, database: Engine) -> None:
    ledger.submit(submission())
    ended = begun(ledger)
    ledger.succeed(ended, {}, 1.0)
    waiting = ledger.submit(submission())
    assert ledger.forget() == 0
    assert ledger.forget(time.time() + 30 * 86400) == 1
    assert [job.id for job in ledger.find()] == [waiting.id]
    with database.connect() as connection:
        left = set(connection.execute(select(events.c.job_id)).scalars())
    assert left == {waiting.id}


def test_a_submission_that_fails_leaves_nothing(database: Engine) -> None:
    def broken(_connection: Connection, _name: str) -> None:
        raise RuntimeError("no queue")

    ledger = Ledger(database, broken)
    with pytest.raises(RuntimeError):
        ledger.submit(submission())
    assert ledger.find() == []
    assert ledger.last_event() == 0


def test_counts(ledger: Ledger) -> None:
    for _ in range(3):
        ledger.submit(submission())
    begun(ledger)
    assert ledger.counts()[JobState.QUEUED] == ledger.waiting() == 2
    assert ledger.counts()[JobState.RUNNING] == 1
    assert ledger.counts()[JobState.FAILED] == 0


def test_reading_goes_on_while_another_writes(ledger: Ledger, database: Engine) -> None:
    job_id = ledger.submit(submission()).id
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with writing(database) as connection:
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
