"""The book of jobs: every change of a job's state is one transaction here.

Front doors submit, look and signal; workers claim, report and finish. A worker's word counts only while it holds the
job (same worker, same attempt), so that one which was given up for lost cannot write over its successor.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    and_,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from safelight.database.engine import reading, writing
from safelight.database.inserting import upsert
from safelight.errors import (
    IdempotencyError,
    JobMissingError,
    JobOverError,
    QueueFullError,
    SafelightError,
    WorkerLostError,
)
from safelight.jobs.job import Event, Job, JobKind, JobState, JsonObject, Progress, Signal, Submission
from safelight.jobs.requests import digests
from safelight.jobs.rows import event_of, job_of, new_id, timing_key, with_outlook
from safelight.jobs.tables import clock, events, job_blobs, jobs, previews, timings
from safelight.jobs.turns import LOOKAHEAD, Waiting, choose, next_turn

LEASE = 15.0
"""Seconds after which a silent worker's jobs go back to the queue."""
MAX_ATTEMPTS = 3
"""How often a job may be begun: one that kills its worker every time must not do so for ever."""

Enqueue = Callable[[Connection, str], None]
"""Puts a turn into the queue within a transaction; the string is its name."""


class Ledger:
    """Jobs in the database.

    Args:
        engine: The database.
        enqueue: Puts a turn into the queue.
        retention: Seconds for which a finished job and its events are kept.
        capacity: How many jobs may wait.
    """

    def __init__(
        self, engine: Engine, enqueue: Enqueue, *, retention: float = 7 * 86400, capacity: int = 10_000
    ) -> None:
        self._engine, self._enqueue = engine, enqueue
        self._retention, self._capacity = retention, capacity

    def submit(self, submission: Submission) -> Job:
        """Put a job into the queue. The same idempotency key again gives the job it gave the first time.

        Raises:
            IdempotencyError: The key was used for another request.
            QueueFullError: Too many jobs wait.
            DatabaseError: Nothing was submitted.
        """
        try:
            with writing(self._engine) as connection:
                return self._submit(connection, submission)
        except IntegrityError:  # the same key, at the same moment
            with writing(self._engine) as connection:
                return self._submit(connection, submission)

    def _submit(self, connection: Connection, given: Submission) -> Job:
        request = json.dumps(given.request, sort_keys=True)
        if given.idempotency_key is not None and (row := self._by_key(connection, given)):
            if (row["kind"], row["request"]) != (given.kind, request):
                raise IdempotencyError
            return with_outlook(connection, row)
        waiting = connection.execute(
            select(func.count()).select_from(jobs).where(jobs.c.state == JobState.QUEUED)
        ).scalar_one()
        if waiting >= self._capacity:
            raise QueueFullError(f"{waiting} jobs wait already.")
        job_id = new_id()
        values = {
            "id": job_id,
            "owner": given.owner,
            "kind": given.kind,
            "state": JobState.QUEUED,
            "request": request,
            "priority": given.priority,
            "turn": self._turn(connection, given.owner, given.cost),
            "cost": given.cost,
            "passed": 0,
            "checkpoint": given.checkpoint,
            "timeout": given.timeout,
            "idempotency_key": given.idempotency_key,
            "request_id": given.request_id,
            "created": time.time(),
            "attempt": 0,
        }
        connection.execute(insert(jobs).values(**values))
        for digest in set(digests(given.request)):
            connection.execute(insert(job_blobs).values(job_id=job_id, digest=digest))
        _tell(connection, job_id, "state", state=JobState.QUEUED)
        self._enqueue(connection, job_id)
        return with_outlook(connection, _row(connection, job_id))

    @staticmethod
    def _by_key(connection: Connection, given: Submission) -> RowMapping | None:
        same = and_(jobs.c.owner == given.owner, jobs.c.idempotency_key == given.idempotency_key)
        return connection.execute(select(jobs).where(same)).mappings().first()

    @staticmethod
    def _turn(connection: Connection, owner: str, cost: float) -> float:
        now = connection.execute(select(clock.c.turn)).scalar() or 0.0
        last = connection.execute(
            select(func.max(jobs.c.turn)).where(jobs.c.owner == owner, jobs.c.state == JobState.QUEUED)
        ).scalar()
        return next_turn(now, last, cost)

    def get(self, job_id: str, owner: str | None = None) -> Job:
        """A job with its place in the queue.

        Args:
            job_id: Its id.
            owner: Only if it is this owner's; None for administrators.

        Raises:
            JobMissingError: There is none, or it is somebody else's.
        """
        with reading(self._engine) as connection:
            return with_outlook(connection, _row(connection, job_id, owner))

    def find(
        self,
        owner: str | None = None,
        *,
        states: Collection[JobState] = (),
        kind: JobKind | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> list[Job]:
        """Jobs, the newest first.

        Args:
            owner: Only this owner's.
            states: Only those in one of these states; all when empty.
            kind: Only those of a kind.
            before: Only those older than the job of this id: how to get the next page.
            limit: At most so many.
        """
        query = select(jobs).order_by(jobs.c.id.desc()).limit(limit)
        if owner is not None:
            query = query.where(jobs.c.owner == owner)
        if states:
            query = query.where(jobs.c.state.in_(states))
        if kind is not None:
            query = query.where(jobs.c.kind == kind)
        if before is not None:
            query = query.where(jobs.c.id < before)
        with reading(self._engine) as connection:
            return [with_outlook(connection, row) for row in connection.execute(query).mappings().all()]

    def signal(self, job_id: str, signal: Signal, owner: str | None = None) -> Job:
        """Tell one job to stop. A waiting one is cancelled at once, a running one listens at its next step.

        Raises:
            JobMissingError: There is none, or it is somebody else's.
            JobOverError: It has ended already.
        """
        with writing(self._engine) as connection:
            row = _row(connection, job_id, owner, lock=True)
            if JobState(row["state"]).final:
                raise JobOverError(f"The job {job_id} has {row['state']} already.")
            if row["state"] == JobState.QUEUED:
                self._end(connection, row, JobState.CANCELLED)
            else:
                connection.execute(update(jobs).where(jobs.c.id == job_id).values(signal=signal))
            return with_outlook(connection, _row(connection, job_id))

    def events(self, after: int, job_id: str | None = None, limit: int = 1000) -> list[Event]:
        """What happened after an event, in order; of one job or of all."""
        query = select(events).where(events.c.id > after).order_by(events.c.id).limit(limit)
        if job_id is not None:
            query = query.where(events.c.job_id == job_id)
        with reading(self._engine) as connection:
            return [event_of(row) for row in connection.execute(query).mappings()]

    def last_event(self) -> int:
        """The id of the newest event; 0 before the first."""
        with reading(self._engine) as connection:
            return connection.execute(select(func.max(events.c.id))).scalar() or 0

    def preview(self, job_id: str) -> bytes | None:
        """The newest preview of a job, WebP; None if it has none."""
        with reading(self._engine) as connection:
            return connection.execute(select(previews.c.data).where(previews.c.job_id == job_id)).scalar()

    def counts(self) -> dict[JobState, int]:
        """How many jobs there are in each state."""
        query = select(jobs.c.state, func.count()).group_by(jobs.c.state)
        with reading(self._engine) as connection:
            found = {row[0]: row[1] for row in connection.execute(query)}
        return {state: found.get(state, 0) for state in JobState}

    def claim(
        self,
        worker: str,
        *,
        loaded: frozenset[str] = frozenset(),
        fits: Callable[[Job], bool] = lambda _: True,
    ) -> Job | None:
        """Begin the job whose turn it is.

        Args:
            worker: Who begins it.
            loaded: Checkpoints it has in memory.
            fits: Asked about the chosen job; if it does not fit beside what is running now, nothing is begun, so that
                no other job slips in before it.
        """
        with writing(self._engine) as connection:
            rows = (
                connection.execute(
                    select(jobs)
                    .where(jobs.c.state == JobState.QUEUED)
                    .order_by(jobs.c.priority.desc(), jobs.c.turn, jobs.c.id)
                    .limit(LOOKAHEAD)
                    .with_for_update()
                )
                .mappings()
                .all()
            )
            by_id = {row["id"]: row for row in rows}
            queue = [Waiting(*(row[name] for name in Waiting.__dataclass_fields__)) for row in rows]
            choice = choose(queue, loaded)
            if choice is None or not fits(job_of(by_id[choice.job.id])):
                return None
            if choice.passed:
                passed = jobs.c.id.in_([other.id for other in choice.passed])
                connection.execute(update(jobs).where(passed).values(passed=jobs.c.passed + 1))
            return self._begin(connection, by_id[choice.job.id], worker)

    @staticmethod
    def _begin(connection: Connection, row: RowMapping, worker: str) -> Job:
        now = time.time()
        connection.execute(
            update(jobs)
            .where(jobs.c.id == row["id"])
            .values(
                state=JobState.RUNNING,
                started=now,
                attempt=row["attempt"] + 1,
                worker=worker,
                lease=now + LEASE,
                signal=None,
                progress=None,
            )
        )
        upsert(connection, clock, {"id": 1}, {"turn": row["turn"]})
        _tell(connection, row["id"], "state", state=JobState.RUNNING, attempt=row["attempt"] + 1)
        return job_of(_row(connection, row["id"]))

    def renew(self, worker: str, held: Iterable[Job]) -> dict[str, Signal | None]:
        """Say that a worker lives; returns what each of its jobs is told. One that is no longer its own is to stop."""
        held = list(held)
        with writing(self._engine) as connection:
            mine = jobs.c.id.in_([job.id for job in held]) & (jobs.c.worker == worker)
            connection.execute(
                update(jobs).where(mine, jobs.c.state == JobState.RUNNING).values(lease=time.time() + LEASE)
            )
            query = select(jobs.c.id, jobs.c.attempt, jobs.c.state, jobs.c.signal).where(mine)
            found = {row.id: row for row in connection.execute(query)}
        told: dict[str, Signal | None] = {}
        for job in held:
            row = found.get(job.id)
            own = row is not None and row.state == JobState.RUNNING and row.attempt == job.attempt
            told[job.id] = (Signal(row.signal) if row and row.signal else None) if own else Signal.CANCEL
        return told

    def signals(self, job_ids: Collection[str]) -> dict[str, Signal]:
        """What jobs are told; only those that are told something."""
        query = select(jobs.c.id, jobs.c.signal).where(jobs.c.id.in_(job_ids), jobs.c.signal.is_not(None))
        with reading(self._engine) as connection:
            return {row.id: Signal(row.signal) for row in connection.execute(query)}

    def clear_signal(self, job: Job, signal: Signal) -> None:
        """A signal has been followed, and the job goes on."""
        with writing(self._engine) as connection:
            connection.execute(update(jobs).where(_held(job), jobs.c.signal == signal).values(signal=None))

    def report(self, job: Job, progress: Progress, preview: bytes | None = None) -> bool:
        """Note where a job stands; False if it is no longer the worker's."""
        text = progress.model_dump_json()
        with writing(self._engine) as connection:
            if not connection.execute(update(jobs).where(_held(job)).values(progress=text)).rowcount:
                return False
            _tell(connection, job.id, "progress", **progress.model_dump())
            if preview is not None:
                number = self._keep_preview(connection, job.id, preview)
                _tell(connection, job.id, "preview", number=number)
            return True

    @staticmethod
    def _keep_preview(connection: Connection, job_id: str, data: bytes) -> int:
        kept = connection.execute(select(previews.c.number).where(previews.c.job_id == job_id)).scalar()
        number = 1 + (kept or 0)
        upsert(connection, previews, {"job_id": job_id}, {"number": number, "data": data})
        return number

    def succeed(self, job: Job, result: JsonObject, seconds: float) -> bool:
        """A worker's job is done; False if it was no longer its own.

        Args:
            job: As it was claimed.
            result: What came of it.
            seconds: What the work took, for the outlook of others.
        """
        with writing(self._engine) as connection:
            row = self._held_row(connection, job)
            if row is None:
                return False
            self._end(connection, row, JobState.SUCCEEDED, result=result)
            self._time(connection, timing_key(row["kind"], row["checkpoint"]), seconds / row["cost"])
            return True

    def fail(self, job: Job, error: SafelightError, result: JsonObject | None = None) -> bool:
        """A worker's job cannot be done; False if it was no longer its own."""
        with writing(self._engine) as connection:
            row = self._held_row(connection, job)
            if row is not None:
                self._end(connection, row, JobState.FAILED, error=error, result=result)
            return row is not None

    def cancelled(self, job: Job, result: JsonObject | None = None) -> bool:
        """A worker has stopped a job as it was told; False if it was no longer its own."""
        with writing(self._engine) as connection:
            row = self._held_row(connection, job)
            if row is not None:
                self._end(connection, row, JobState.CANCELLED, result=result)
            return row is not None

    def give_back(self, job: Job) -> bool:
        """A worker that is told to go puts its job back to the head of the queue, as if it had not begun it."""
        with writing(self._engine) as connection:
            row = self._held_row(connection, job)
            if row is not None:
                self._requeue(connection, row, attempt=row["attempt"] - 1)
            return row is not None

    def take_back(self, worker: str | None = None) -> int:
        """Put jobs of lost workers back into the queue; those that were begun too often fail.

        Args:
            worker: This worker's, which has just begun a new life; those whose lease has run out when not given.

        Returns:
            How many there were.
        """
        lost = jobs.c.lease < time.time() if worker is None else jobs.c.worker == worker
        query = select(jobs).where(jobs.c.state == JobState.RUNNING, lost).with_for_update(skip_locked=True)
        with writing(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
            for row in rows:
                if row["signal"] == Signal.CANCEL:
                    self._end(connection, row, JobState.CANCELLED)
                elif row["attempt"] >= MAX_ATTEMPTS:
                    self._end(connection, row, JobState.FAILED, error=_lost(row))
                else:
                    self._requeue(connection, row, attempt=row["attempt"])
        return len(rows)

    def _requeue(self, connection: Connection, row: RowMapping, *, attempt: int) -> None:
        values = {"state": JobState.QUEUED, "worker": None, "lease": None, "signal": None, "progress": None}
        connection.execute(
            update(jobs).where(jobs.c.id == row["id"]).values(**values, started=None, attempt=attempt)
        )
        _tell(connection, row["id"], "state", state=JobState.QUEUED, attempt=attempt)
        self._enqueue(connection, new_id())

    def _end(
        self,
        connection: Connection,
        row: RowMapping,
        state: JobState,
        *,
        result: JsonObject | None = None,
        error: SafelightError | None = None,
    ) -> None:
        now = time.time()
        connection.execute(
            update(jobs)
            .where(jobs.c.id == row["id"])
            .values(
                state=state,
                ended=now,
                expires=now + self._retention,
                lease=None,
                signal=None,
                result=None if result is None else json.dumps(result),
                error=None if error is None else json.dumps(error.to_dict()),
            )
        )
        passing = events.c.job_id == row["id"], events.c.kind != "state"
        connection.execute(delete(events).where(*passing))
        connection.execute(delete(previews).where(previews.c.job_id == row["id"]))
        body = {} if error is None else {"error": error.to_dict()}
        _tell(connection, row["id"], "state", state=state, **body)

    @staticmethod
    def _held_row(connection: Connection, job: Job) -> RowMapping | None:
        return connection.execute(select(jobs).where(_held(job)).with_for_update()).mappings().first()

    @staticmethod
    def _time(connection: Connection, key: str, seconds: float) -> None:
        """A moving average: half of it is of the last three jobs."""
        known = connection.execute(select(timings.c.seconds).where(timings.c.key == key)).scalar()
        seconds = seconds if known is None else 0.8 * known + 0.2 * seconds
        upsert(connection, timings, {"key": key}, {"seconds": seconds})

    def waiting(self) -> int:
        """How many jobs wait."""
        return self.counts()[JobState.QUEUED]

    def forget(self, now: float | None = None) -> int:
        """Delete finished jobs whose time is over, with their events; returns how many."""
        with writing(self._engine) as connection:
            return connection.execute(
                delete(jobs).where(jobs.c.expires < (time.time() if now is None else now))
            ).rowcount


def _row(connection: Connection, job_id: str, owner: str | None = None, *, lock: bool = False) -> RowMapping:
    query = select(jobs).where(jobs.c.id == job_id)
    row = connection.execute(query.with_for_update() if lock else query).mappings().first()
    if row is None or (owner is not None and row["owner"] != owner):
        raise JobMissingError(f"There is no job {job_id!r}.")
    return row


def _held(job: Job) -> ColumnElement[bool]:
    return and_(
        jobs.c.id == job.id,
        jobs.c.state == JobState.RUNNING,
        jobs.c.worker == job.worker,
        jobs.c.attempt == job.attempt,
    )


def _tell(connection: Connection, job_id: str, kind: str, **data: object) -> None:
    connection.execute(
        insert(events).values(job_id=job_id, kind=kind, data=json.dumps(data), created=time.time())
    )


def _lost(row: RowMapping) -> SafelightError:
    return WorkerLostError(
        f"The worker {row['worker']} was lost {row['attempt']} times while doing this job."
    )
