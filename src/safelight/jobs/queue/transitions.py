"""Changes of a job's state within a transaction, which front ends and workers share."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, and_, delete, insert, select, update

from safelight.database import blobs
from safelight.database.coordination import current_time, now
from safelight.database.notifications import notify
from safelight.errors import JobMissingError, SafelightError
from safelight.jobs.channels import Channel
from safelight.jobs.job import Job, JobState, JsonObject
from safelight.jobs.queue.admission import QueueRules
from safelight.jobs.queue.tables import events, job_blobs, job_inputs, jobs, previews


class Transitions:
    """Changes of a job's state that several operations need.

    Args:
        engine: The database.
        rules: Returns the rules that apply now.
    """

    def __init__(self, engine: Engine, rules: Callable[[], QueueRules] = QueueRules) -> None:
        self._engine, self._rules = engine, rules

    def _requeue(self, connection: Connection, row: RowMapping, *, attempt: int, lost: int) -> None:
        values = {"state": JobState.QUEUED, "worker": None, "lease": None, "signal": None, "progress": None}
        connection.execute(
            update(jobs)
            .where(jobs.c.id == row["id"])
            .values(**values, started=None, attempt=attempt, lost=lost)
        )
        add_event(connection, row["id"], "state", state=JobState.QUEUED, attempt=attempt)
        notify(connection, Channel.JOBS)

    def _finish(
        self,
        connection: Connection,
        row: RowMapping,
        state: JobState,
        *,
        result: JsonObject | None = None,
        error: SafelightError | None = None,
    ) -> None:
        ended = now(connection)
        connection.execute(
            update(jobs)
            .where(jobs.c.id == row["id"])
            .values(
                state=state,
                ended=ended,
                expires=ended + timedelta(seconds=self._rules().retention),
                lease=None,
                signal=None,
                result=None if result is None else json.dumps(result),
                error=None if error is None else json.dumps(error.to_dict()),
            )
        )
        transient = events.c.job_id == row["id"], events.c.kind != "state"
        connection.execute(delete(events).where(*transient))
        connection.execute(delete(previews).where(previews.c.job_id == row["id"]))
        _release_inputs(connection, row["id"])
        event_data = {} if error is None else {"error": error.to_dict()}
        add_event(connection, row["id"], "state", state=state, **event_data)


def _release_inputs(connection: Connection, job_id: str) -> None:
    """Delete the input pictures of a job that has ended."""
    condition = job_blobs.c.job_id == job_id
    if connection.execute(select(job_blobs.c.digest).where(condition).limit(1)).first() is None:
        return
    other_digests = select(job_blobs.c.digest).where(~condition)
    blobs.release(connection, select(job_blobs.c.digest).where(condition), other_digests)
    connection.execute(delete(job_blobs).where(condition))
    connection.execute(delete(job_inputs).where(job_inputs.c.job_id == job_id))


def add_event(connection: Connection, job_id: str, kind: str, **data: object) -> None:
    """Insert an event of a job, and notify listeners."""
    created = current_time(connection)
    connection.execute(
        insert(events).values(job_id=job_id, kind=kind, data=json.dumps(data), created=created)
    )
    notify(connection, Channel.EVENTS)


def get_row(
    connection: Connection, job_id: str, owner: str | None = None, *, lock: bool = False
) -> RowMapping:
    """A job's row.

    Raises:
        JobMissingError: There is none, or it belongs to another owner.
    """
    query = select(jobs).where(jobs.c.id == job_id)
    row = connection.execute(query.with_for_update() if lock else query).mappings().first()
    if row is None or (owner is not None and row["owner"] != owner):
        raise JobMissingError(f"There is no job {job_id!r}.")
    return row


def is_held(job: Job) -> ColumnElement[bool]:
    """The condition that a job is still held by the worker that claimed it."""
    return and_(
        jobs.c.id == job.id,
        jobs.c.state == JobState.RUNNING,
        jobs.c.worker == job.worker,
        jobs.c.attempt == job.attempt,
    )


def get_held_row(connection: Connection, job: Job) -> RowMapping | None:
    """A job's row, locked; None if its worker no longer holds it."""
    return connection.execute(select(jobs).where(is_held(job)).with_for_update()).mappings().first()
