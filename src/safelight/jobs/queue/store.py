"""The book of jobs: every change of a job's state is one transaction here.

Front doors submit, look and signal: that is in this file. Workers claim, report and finish: ``holding.py``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Container, Mapping
from datetime import datetime

from sqlalchemy import Connection, Engine, RowMapping, and_, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from safelight.database import blobs
from safelight.database.coordination import now, wait_in_line
from safelight.database.engine import reading, writing
from safelight.database.notifications import Listener, listen, notify
from safelight.errors import IdempotencyConflictError, JobEndedError, JobNotSkippableError
from safelight.jobs.channels import Channel
from safelight.jobs.job import Event, Job, JobKind, JobState, Signal, Submission
from safelight.jobs.payloads import blob_digests
from safelight.jobs.queue.admission import QueueLimits, admit
from safelight.jobs.queue.claims import Claims
from safelight.jobs.queue.eta import Standing, standings, with_outlook
from safelight.jobs.queue.mapping import event_of, new_id
from safelight.jobs.queue.projections import brief, listed, rows_within, summary
from safelight.jobs.queue.scheduling import next_turn
from safelight.jobs.queue.tables import clock, events, job_blobs, job_inputs, jobs, previews
from safelight.jobs.queue.transitions import add_event, get_row


class JobStore(Claims):
    """Jobs in the database.

    Args:
        engine: The database.
        retention: Seconds for which a finished job and its events are kept.
        max_attempts: See ``Claims``.
        limits: How much may wait.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        retention: float = 7 * 86400,
        max_attempts: int = 3,
        limits: QueueLimits = QueueLimits(),  # noqa: B008  it is frozen
    ) -> None:
        super().__init__(engine, retention=retention, max_attempts=max_attempts)
        self._limits = limits

    def submit(
        self, submission: Submission, pictures: Mapping[str, bytes] | None = None, *, shares: bool = False
    ) -> Job:
        """Put a job into the queue; returns it. The same idempotency key again gives the job it gave the first time.

        All that can refuse it is looked at before anything is written, in one transaction.

        Args:
            submission: The job.
            pictures: Those that its request names, by their digest.
            shares: Whether its owner shares the queue with others, and may have no more than their share of it.

        Raises:
            IdempotencyConflictError: The key was used for another request.
            QueueFullError: Too many jobs wait.
            OwnerJobsLimitError, OwnerBytesLimitError: Too much of its owner's waits.
            DatabaseError: Nothing was submitted.
        """
        request = json.dumps(submission.request, sort_keys=True)  # before anybody has to wait for it
        try:
            with writing(self._engine) as connection:
                job_id = self._submit(connection, submission, request, pictures or {}, shares)
        except IntegrityError:  # the same key, at the same moment
            with writing(self._engine) as connection:
                job_id = self._submit(connection, submission, request, pictures or {}, shares)
        return self.get(job_id)  # not while writing: the outlook takes longer the more jobs wait

    def _submit(
        self,
        connection: Connection,
        given: Submission,
        request: str,
        pictures: Mapping[str, bytes],
        shares: bool,
    ) -> str:
        """Write down a job, its pictures and its place in the queue; returns its id."""
        wait_in_line(connection, given.owner)  # their next job's turn follows from this one's
        if given.idempotency_key is not None and (row := self._by_key(connection, given)):
            if (row["kind"], row["request"]) != (given.kind, request):
                raise IdempotencyConflictError
            return str(row["id"])
        nbytes = sum(map(len, pictures.values()))
        admit(connection, self._limits, given.owner if shares else None, nbytes)
        created = now(connection)
        job_id = new_id(created)
        values = {
            "id": job_id,
            "owner": given.owner,
            "kind": given.kind,
            "state": JobState.QUEUED,
            "request": request,
            "summary": summary(given.request),
            "priority": given.priority,
            "turn": self._turn(connection, given),
            "cost": given.cost,
            "passed": 0,
            "checkpoint": given.checkpoint,
            "timeout": given.timeout,
            "idempotency_key": given.idempotency_key,
            "request_id": given.request_id,
            "created": created,
            "attempt": 0,
            "lost": 0,
        }
        connection.execute(insert(jobs).values(**values))
        blobs.keep(connection, pictures)
        if needed := set(blob_digests(given.request)):
            connection.execute(insert(job_blobs), [{"job_id": job_id, "digest": digest} for digest in needed])
            connection.execute(insert(job_inputs).values(job_id=job_id, owner=given.owner, bytes=nbytes))
        add_event(connection, job_id, "state", state=JobState.QUEUED)
        notify(connection, Channel.JOBS)
        return job_id

    @staticmethod
    def _by_key(connection: Connection, given: Submission) -> RowMapping | None:
        same = and_(jobs.c.owner == given.owner, jobs.c.idempotency_key == given.idempotency_key)
        return connection.execute(select(jobs).where(same)).mappings().first()

    @staticmethod
    def _turn(connection: Connection, given: Submission) -> float:
        priority = given.priority
        reached = connection.execute(select(clock.c.turn).where(clock.c.priority == priority)).scalar() or 0.0
        own = and_(jobs.c.owner == given.owner, jobs.c.state == JobState.QUEUED, jobs.c.priority == priority)
        last = connection.execute(select(func.max(jobs.c.turn)).where(own)).scalar()
        return next_turn(reached, last, given.cost)

    def get(self, job_id: str, owner: str | None = None) -> Job:
        """A job with its place in the queue.

        Args:
            job_id: Its id.
            owner: Only if it is this owner's; None for administrators.

        Raises:
            JobMissingError: There is none, or it is somebody else's.
        """
        with reading(self._engine) as connection:
            return with_outlook(connection, [get_row(connection, job_id, owner)])[0]

    def find(
        self,
        owner: str | None = None,
        *,
        states: Collection[JobState] = (),
        kind: JobKind | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> list[Job]:
        """Jobs as lists show them, the newest first: of pictures to judge only how many they are, and no results.

        Args:
            owner: Only this owner's.
            states: Only those in one of these states; all when empty.
            kind: Only those of a kind.
            before: Only those older than the job of this id: how to get the next page.
            limit: At most so many.
        """
        query = listed().order_by(jobs.c.id.desc()).limit(limit)
        if owner is not None:
            query = query.where(jobs.c.owner == owner)
        if states:
            query = query.where(jobs.c.state.in_(states))
        if kind is not None:
            query = query.where(jobs.c.kind == kind)
        if before is not None:
            query = query.where(jobs.c.id < before)
        with reading(self._engine) as connection:
            return with_outlook(connection, connection.execute(query).mappings().all())

    def several(self, job_ids: Collection[str], largest: int) -> list[Job]:
        """Those of some jobs that are there, the newest first.

        Args:
            job_ids: Which.
            largest: Characters of a request, and of a result; of longer ones nothing is read: {} and None.
        """
        query = brief(largest).where(jobs.c.id.in_(job_ids)).order_by(jobs.c.id.desc())
        with reading(self._engine) as connection:
            return with_outlook(connection, connection.execute(query).mappings().all())

    def overview(self, owner: str | None, *, waiting: int, ended: int, largest: int, total: int) -> list[Job]:
        """All jobs that run, and the newest of those that wait and of those that have ended; the newest first.

        Args:
            owner: Only this owner's.
            waiting: How many of those that wait, at most.
            ended: How many of those that have ended, at most.
            largest: As for ``several``.
            total: Characters of all requests and results; beyond it nothing is read of the longest.
        """
        newest = select(jobs.c.id).order_by(jobs.c.id.desc())
        if owner is not None:
            newest = newest.where(jobs.c.owner == owner)
        over = [state for state in JobState if state.final]
        queries = (
            newest.where(jobs.c.state == JobState.RUNNING),
            newest.where(jobs.c.state == JobState.QUEUED).limit(waiting),
            newest.where(jobs.c.state.in_(over)).limit(ended),
        )
        with reading(self._engine) as connection:
            found = [job_id for query in queries for job_id in connection.execute(query).scalars()]
            return with_outlook(connection, rows_within(connection, found, largest=largest, total=total))

    def standings(self) -> list[Standing]:
        """Where all jobs stand that have not ended: those that run, then the queue in its order."""
        with reading(self._engine) as connection:
            return standings(connection)

    def signal(self, job_id: str, signal: Signal, owner: str | None = None) -> Job:
        """Tell one job to stop; returns it. A waiting one is cancelled at once, a running one listens at its next step.

        Raises:
            JobMissingError: There is none, or it is somebody else's.
            JobEndedError: It has ended already.
            JobNotSkippableError: Its kind has no pictures that could be skipped.
        """
        with writing(self._engine) as connection:
            row = get_row(connection, job_id, owner, lock=True)
            if JobState(row["state"]).final:
                raise JobEndedError(f"The job {job_id} has {row['state']} already.")
            if signal is Signal.SKIP and row["kind"] != JobKind.GENERATE:
                raise JobNotSkippableError
            if row["state"] == JobState.QUEUED:
                self._end(connection, row, JobState.CANCELLED)
            elif signal.outdoes(row["signal"]):
                connection.execute(update(jobs).where(jobs.c.id == job_id).values(signal=signal))
                notify(connection, Channel.COMMANDS)
            return with_outlook(connection, [get_row(connection, job_id)])[0]

    def listen(self) -> Listener:
        """A listener for new events; whoever asked for it closes it."""
        return listen(self._engine, Channel.EVENTS)

    def events(
        self,
        after: int,
        job_id: str | None = None,
        limit: int = 1000,
        *,
        known: Container[int] = frozenset(),
    ) -> list[Event]:
        """What happened after an event, in order.

        Args:
            after: The event's id.
            job_id: Only events of this job; of all jobs when not given.
            limit: How many rows are read at most.
            known: Ids of events that are left out.
        """
        query = select(events).where(events.c.id > after).order_by(events.c.id).limit(limit)
        if job_id is not None:
            query = query.where(events.c.job_id == job_id)
        with reading(self._engine) as connection:
            rows = connection.execute(query).mappings()
            return [event_of(row) for row in rows if row["id"] not in known]

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

    def forget(self, at: datetime) -> int:
        """Delete finished jobs whose time is over at a moment, with their events; returns how many."""
        with writing(self._engine) as connection:
            return connection.execute(delete(jobs).where(jobs.c.expires < at)).rowcount
