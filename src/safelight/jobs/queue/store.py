"""The job store: every change of a job's state is one transaction.

This module has the operations of front ends: submit, query and signal. Those of workers are in ``claims.py``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Container, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from safelight.database import blobs
from safelight.database.coordination import acquire_transaction_lock, now
from safelight.database.engine import read_transaction, write_transaction
from safelight.database.notifications import Listener, listen, notify
from safelight.errors import IdempotencyConflictError, JobEndedError, JobNotSkippableError
from safelight.jobs.channels import Channel
from safelight.jobs.job import Event, Job, JobState, Signal, Submission
from safelight.jobs.payloads import blob_digests
from safelight.jobs.queue.admission import check_admission
from safelight.jobs.queue.claims import Claims
from safelight.jobs.queue.eta import JobEstimate, estimate_jobs, with_estimates
from safelight.jobs.queue.mapping import new_id, to_event
from safelight.jobs.queue.projections import bounded_query, fetch_rows_within, list_query, summarize_request
from safelight.jobs.queue.reordering import move_job
from safelight.jobs.queue.scheduling import next_virtual_time
from safelight.jobs.queue.state import QueueState, count_clear, read_queue_state, set_paused
from safelight.jobs.queue.tables import events, job_blobs, job_inputs, jobs, previews, virtual_clock
from safelight.jobs.queue.transitions import add_event, get_row
from safelight.jobs.task import TASKS

CANCELLED_AT_ONCE = 100
"""How many jobs one transaction cancels: others wait for it."""


class JobStore(Claims):
    """Jobs in the database.

    Args:
        engine: The database.
        rules: Returns the rules that apply now.
    """

    def submit(
        self, submission: Submission, pictures: Mapping[str, bytes] | None = None, *, shared: bool = False
    ) -> Job:
        """Submit a job; returns it. A repeated idempotency key returns the job of the first call.

        All checks run before anything is written, in one transaction.

        Args:
            submission: The job.
            pictures: The pictures that its request refers to, by digest.
            shared: Whether the owner shares the queue with others, so that the limits per owner apply.

        Raises:
            IdempotencyConflictError: The key was used with another request.
            QueueFullError: Too many jobs wait.
            OwnerJobsLimitError, OwnerBytesLimitError: The owner has too many jobs waiting, or too many bytes stored.
            DatabaseError: The job was not submitted.
        """
        request = json.dumps(submission.request, sort_keys=True)  # others wait for the transaction
        try:
            with write_transaction(self._engine) as connection:
                job_id = self._submit(connection, submission, request, pictures or {}, shared)
        except IntegrityError:  # another process inserted the same key at the same moment
            with write_transaction(self._engine) as connection:
                job_id = self._submit(connection, submission, request, pictures or {}, shared)
        return self.get(job_id)  # not in the transaction: estimates take longer the more jobs wait

    def _submit(
        self,
        connection: Connection,
        submission: Submission,
        request: str,
        pictures: Mapping[str, bytes],
        shared: bool,
    ) -> str:
        """Insert a job, its pictures and its position in the queue; returns its id."""
        acquire_transaction_lock(
            connection, submission.owner
        )  # the virtual time of an owner's next job depends on this one's
        if submission.idempotency_key is not None and (row := self._find_by_key(connection, submission)):
            is_same = row["kind"] == submission.kind and row["parent"] == submission.parent
            if not is_same or not _is_same(row["request"], request, submission):
                raise IdempotencyConflictError
            return str(row["id"])
        nbytes = sum(map(len, pictures.values()))
        check_admission(connection, self._rules().limits, submission.owner if shared else None, nbytes)
        created = now(connection)
        job_id = new_id(created)
        values = {
            "id": job_id,
            "owner": submission.owner,
            "kind": submission.kind,
            "state": JobState.QUEUED,
            "request": request,
            "summary": summarize_request(submission.request),
            "priority": submission.priority,
            "turn": self._next_virtual_time(connection, submission),
            "cost": submission.cost,
            "passed": 0,
            "checkpoint": submission.checkpoint,
            "timeout": submission.timeout,
            "idempotency_key": submission.idempotency_key,
            "request_id": submission.request_id,
            "parent": submission.parent,
            "created": created,
            "attempt": 0,
            "lost": 0,
        }
        connection.execute(insert(jobs).values(**values))
        blobs.put_many(connection, pictures)
        if digests := set(blob_digests(submission.request)):
            connection.execute(
                insert(job_blobs), [{"job_id": job_id, "digest": digest} for digest in digests]
            )
            connection.execute(insert(job_inputs).values(job_id=job_id, owner=submission.owner, bytes=nbytes))
        add_event(connection, job_id, "state", state=JobState.QUEUED)
        notify(connection, Channel.JOBS)
        return job_id

    @staticmethod
    def _find_by_key(connection: Connection, submission: Submission) -> RowMapping | None:
        condition = and_(
            jobs.c.owner == submission.owner, jobs.c.idempotency_key == submission.idempotency_key
        )
        return connection.execute(select(jobs).where(condition)).mappings().first()

    @staticmethod
    def _next_virtual_time(connection: Connection, submission: Submission) -> float:
        priority = submission.priority
        clock_value = (
            connection.execute(
                select(virtual_clock.c.turn).where(virtual_clock.c.priority == priority)
            ).scalar()
            or 0.0
        )
        condition = and_(
            jobs.c.owner == submission.owner, jobs.c.state == JobState.QUEUED, jobs.c.priority == priority
        )
        last = connection.execute(select(func.max(jobs.c.turn)).where(condition)).scalar()
        return next_virtual_time(clock_value, last, submission.cost)

    def get(self, job_id: str, owner: str | None = None) -> Job:
        """A job with its position in the queue.

        Args:
            job_id: Its id.
            owner: Return it only if it belongs to this owner; None for administrators.

        Raises:
            JobMissingError: There is none, or it belongs to another owner.
        """
        with read_transaction(self._engine) as connection:
            return with_estimates(connection, [get_row(connection, job_id, owner)])[0]

    def find(
        self,
        owner: str | None = None,
        *,
        states: Collection[JobState] = (),
        kind: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> list[Job]:
        """Jobs in list form, newest first: for scans only the number of pictures, and no results; no cleared ones.

        Args:
            owner: Only jobs of this owner.
            states: Only jobs in one of these states; in any state when empty.
            kind: Only jobs of this kind.
            before: Only jobs older than the one with this id, for the next page.
            limit: Maximum number of jobs.
        """
        query = list_query().where(jobs.c.cleared.is_(None)).order_by(jobs.c.id.desc()).limit(limit)
        if owner is not None:
            query = query.where(jobs.c.owner == owner)
        if states:
            query = query.where(jobs.c.state.in_(states))
        if kind is not None:
            query = query.where(jobs.c.kind == kind)
        if before is not None:
            query = query.where(jobs.c.id < before)
        with read_transaction(self._engine) as connection:
            return with_estimates(connection, connection.execute(query).mappings().all())

    def find_many(self, job_ids: Collection[str], max_chars: int) -> list[Job]:
        """Those of the given jobs that exist, newest first.

        Args:
            job_ids: The jobs' ids.
            max_chars: Longest request or result to read, in characters; longer ones are returned as {} and None.
        """
        query = bounded_query(max_chars).where(jobs.c.id.in_(job_ids)).order_by(jobs.c.id.desc())
        with read_transaction(self._engine) as connection:
            return with_estimates(connection, connection.execute(query).mappings().all())

    def overview(
        self, owner: str | None, *, waiting: int, ended: int, max_chars: int, max_total_chars: int
    ) -> list[Job]:
        """All running jobs, and the newest queued and ended ones that are not cleared; newest first.

        Args:
            owner: Only jobs of this owner.
            waiting: Maximum number of queued jobs.
            ended: Maximum number of ended jobs.
            max_chars: As for ``find_many``.
            max_total_chars: Total length of all requests and results, in characters; beyond it the longest are
                left out.
        """
        newest = select(jobs.c.id).where(jobs.c.cleared.is_(None)).order_by(jobs.c.id.desc())
        if owner is not None:
            newest = newest.where(jobs.c.owner == owner)
        final_states = [state for state in JobState if state.final]
        queries = (
            newest.where(jobs.c.state == JobState.RUNNING),
            newest.where(jobs.c.state == JobState.QUEUED).limit(waiting),
            newest.where(jobs.c.state.in_(final_states)).limit(ended),
        )
        with read_transaction(self._engine) as connection:
            job_ids = [job_id for query in queries for job_id in connection.execute(query).scalars()]
            return with_estimates(
                connection, fetch_rows_within(connection, job_ids, largest=max_chars, total=max_total_chars)
            )

    def estimates(self) -> list[JobEstimate]:
        """Estimates for all unfinished jobs: the running ones, then the queue in order."""
        with read_transaction(self._engine) as connection:
            return estimate_jobs(connection)

    def send_signal(self, job_id: str, signal: Signal, owner: str | None = None) -> Job:
        """Send a signal to a job; returns the job.

        Any signal cancels a queued job at once; a running job follows it after its current step.

        Raises:
            JobMissingError: There is none, or it belongs to another owner.
            JobEndedError: The job has already ended.
            JobNotSkippableError: Jobs of this kind have no pictures to skip.
        """
        with write_transaction(self._engine) as connection:
            row = get_row(connection, job_id, owner, lock=True)
            if JobState(row["state"]).final:
                raise JobEndedError(f"The job {job_id} has {row['state']} already.")
            if signal is Signal.SKIP and not ((task := TASKS.get(row["kind"])) and task.skippable):
                raise JobNotSkippableError
            if row["state"] == JobState.QUEUED:
                self._finish(connection, row, JobState.CANCELLED)
            elif signal.overrides(row["signal"]):
                connection.execute(update(jobs).where(jobs.c.id == job_id).values(signal=signal))
                notify(connection, Channel.COMMANDS)
            return with_estimates(connection, [get_row(connection, job_id)])[0]

    def cancel_many(
        self, owner: str | None, job_ids: Collection[str] | None = None
    ) -> dict[str, JobState | None]:
        """Cancel several jobs: queued ones at once, running ones after their current step.

        Args:
            owner: Only jobs of this owner; None for any owner.
            job_ids: Which jobs; all queued ones when not given.

        Returns:
            By id the state that each job had; None where there is no such job.
        """
        query = select(jobs.c.id).where(jobs.c.state == JobState.QUEUED).order_by(jobs.c.id)
        if job_ids is None and owner is not None:
            query = query.where(jobs.c.owner == owner)
        if job_ids is None:
            with read_transaction(self._engine) as connection:
                job_ids = connection.execute(query).scalars().all()
        states: dict[str, JobState | None] = {}
        unique = list(dict.fromkeys(job_ids))
        for start in range(0, len(unique), CANCELLED_AT_ONCE):
            with write_transaction(self._engine) as connection:
                states |= self._cancel_all(connection, unique[start : start + CANCELLED_AT_ONCE], owner)
        return states

    def _cancel_all(
        self, connection: Connection, job_ids: Sequence[str], owner: str | None
    ) -> dict[str, JobState | None]:
        query = select(jobs).where(jobs.c.id.in_(job_ids)).order_by(jobs.c.priority.desc(), jobs.c.turn)
        if owner is not None:
            query = query.where(jobs.c.owner == owner)
        states: dict[str, JobState | None] = dict.fromkeys(job_ids)
        running = []
        for row in connection.execute(query.with_for_update()).mappings().all():
            state = states[row["id"]] = JobState(row["state"])
            if state is JobState.QUEUED:
                self._finish(connection, row, JobState.CANCELLED)
            elif state is JobState.RUNNING:
                running.append(row["id"])
        if running:
            connection.execute(update(jobs).where(jobs.c.id.in_(running)).values(signal=Signal.CANCEL))
            notify(connection, Channel.COMMANDS)
        return states

    def clear_ended(self, owner: str | None, job_ids: Collection[str] | None = None) -> int:
        """Leave ended jobs out of all lists; they and their pictures stay until they expire.

        Args:
            owner: Only jobs of this owner; None for any owner.
            job_ids: Which jobs; all ended ones when not given.

        Returns:
            The number of jobs.
        """
        query = update(jobs).where(
            jobs.c.state.in_([state for state in JobState if state.final]), jobs.c.cleared.is_(None)
        )
        if owner is not None:
            query = query.where(jobs.c.owner == owner)
        if job_ids is not None:
            query = query.where(jobs.c.id.in_(job_ids))
        with write_transaction(self._engine) as connection:
            count = connection.execute(query.values(cleared=now(connection))).rowcount
            if count:
                count_clear(connection)
        return count

    def move(self, job_id: str, before: str | None, owner: str | None = None) -> Job:
        """Move a queued job before another one of its owner and priority, or to their end; returns it.

        Args:
            job_id: The job to move.
            before: The job that is to follow it; None for the end.
            owner: The owner that both must have; None for any owner.

        Raises:
            JobMissingError: There is no such job, or it belongs to another owner.
            JobNotQueuedError: One of them is not queued.
            JobMoveError: They have different owners or priorities.
        """
        with write_transaction(self._engine) as connection:
            move_job(connection, job_id, before, owner)
            return with_estimates(connection, [get_row(connection, job_id)])[0]

    def pause(self, owner: str) -> QueueState:
        """Start no more jobs until ``resume``, also after a restart; running ones continue. Returns the state.

        Args:
            owner: Who pauses the queue.
        """
        return self._set_paused(owner)

    def resume(self) -> QueueState:
        """Start jobs again; returns the state."""
        return self._set_paused(None)

    def _set_paused(self, owner: str | None) -> QueueState:
        with write_transaction(self._engine) as connection:
            set_paused(connection, owner)
            return read_queue_state(connection)

    def queue_state(self) -> QueueState:
        """Whether the queue is paused, and its counters of changes."""
        with read_transaction(self._engine) as connection:
            return read_queue_state(connection)

    def listen(self, *others: str) -> Listener:
        """A listener for new events, and for what else changes on other channels. The caller closes it."""
        return listen(self._engine, Channel.EVENTS, *others)

    def events(
        self,
        after: int,
        job_id: str | None = None,
        limit: int = 1000,
        *,
        known: Container[int] = frozenset(),
    ) -> list[Event]:
        """The events after an id, in order.

        Args:
            after: The id.
            job_id: Only events of this job; of all jobs when not given.
            limit: Maximum number of rows to read.
            known: Ids of events to leave out.
        """
        query = select(events).where(events.c.id > after).order_by(events.c.id).limit(limit)
        if job_id is not None:
            query = query.where(events.c.job_id == job_id)
        with read_transaction(self._engine) as connection:
            rows = connection.execute(query).mappings()
            return [to_event(row) for row in rows if row["id"] not in known]

    def last_event(self) -> int:
        """The id of the newest event; 0 before the first."""
        with read_transaction(self._engine) as connection:
            return connection.execute(select(func.max(events.c.id))).scalar() or 0

    def preview(self, job_id: str) -> bytes | None:
        """The newest preview of a job, as WebP; None if it has none."""
        with read_transaction(self._engine) as connection:
            return connection.execute(select(previews.c.data).where(previews.c.job_id == job_id)).scalar()

    def count_by_state(self) -> dict[JobState, int]:
        """The number of jobs in each state."""
        query = select(jobs.c.state, func.count()).group_by(jobs.c.state)
        with read_transaction(self._engine) as connection:
            counts = {row[0]: row[1] for row in connection.execute(query)}
        return {state: counts.get(state, 0) for state in JobState}

    def delete_expired(self, at: datetime) -> int:
        """Delete finished jobs that expired before a time, with their events; returns their number."""
        with write_transaction(self._engine) as connection:
            return connection.execute(delete(jobs).where(jobs.c.expires < at)).rowcount


def _is_same(stored: str, request: str, submission: Submission) -> bool:
    """Whether two requests are the same, apart from fields that the second caller left open."""

    def given(text: str) -> dict[str, Any]:
        return {name: value for name, value in json.loads(text).items() if name not in submission.open_fields}

    return stored == request or given(stored) == given(request)
