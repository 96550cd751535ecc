"""From the queue's rows to jobs and events."""

from __future__ import annotations

import json
import secrets
import time
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, func, or_, select

from safelight.jobs.job import Event, Failure, Job, JobState, Progress
from safelight.jobs.tables import jobs, timings


def new_id() -> str:
    """An id that sorts by time and cannot be guessed: milliseconds and 64 random bits, in hexadecimal."""
    return f"{int(time.time() * 1000):011x}{secrets.token_hex(8)}"


def moment(seconds: float | None) -> datetime | None:
    """Seconds since 1970 as a time in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def job_of(row: RowMapping, *, position: int | None = None, eta: float | None = None) -> Job:
    """A row of the table of jobs as a job."""
    progress, result, error = (json.loads(row[name] or "null") for name in ("progress", "result", "error"))
    created = moment(row["created"])
    assert created is not None
    return Job(
        id=row["id"],
        owner=row["owner"],
        kind=row["kind"],
        state=row["state"],
        request=json.loads(row["request"]),
        priority=row["priority"],
        timeout=row["timeout"],
        idempotency_key=row["idempotency_key"],
        request_id=row["request_id"],
        position=position,
        eta=eta,
        progress=Progress(**progress) if progress else None,
        created=created,
        started=moment(row["started"]),
        ended=moment(row["ended"]),
        expires=moment(row["expires"]),
        attempt=row["attempt"],
        worker=row["worker"],
        result=result,
        error=Failure(**error) if error else None,
    )


def event_of(row: RowMapping) -> Event:
    """A row of the table of events as an event."""
    created = moment(row["created"])
    assert created is not None
    return Event(
        id=row["id"], job_id=row["job_id"], kind=row["kind"], data=json.loads(row["data"]), created=created
    )


def ahead_of(row: RowMapping) -> Any:
    """The condition that a queued job comes before this one."""
    return and_(
        jobs.c.state == JobState.QUEUED,
        or_(
            jobs.c.priority > row["priority"],
            and_(
                jobs.c.priority == row["priority"],
                or_(jobs.c.turn < row["turn"], and_(jobs.c.turn == row["turn"], jobs.c.id < row["id"])),
            ),
        ),
    )


def with_outlook(connection: Connection, row: RowMapping, workers: int = 1) -> Job:
    """A job with its place in the queue and the seconds until it ends, as far as timings are known."""
    if row["state"] == JobState.RUNNING:
        return job_of(row, eta=_remaining(connection, row))
    if row["state"] != JobState.QUEUED:
        return job_of(row)
    ahead = connection.execute(
        select(jobs.c.kind, jobs.c.checkpoint, func.count(), func.sum(jobs.c.cost))
        .where(ahead_of(row))
        .group_by(jobs.c.kind, jobs.c.checkpoint)
    ).all()
    place = 1 + sum(count for _, _, count, _ in ahead)
    running = connection.execute(select(jobs).where(jobs.c.state == JobState.RUNNING)).mappings().all()
    parts = [_expected(connection, kind, checkpoint, cost) for kind, checkpoint, _, cost in ahead]
    parts += [_remaining(connection, other) for other in running]
    own = _expected(connection, row["kind"], row["checkpoint"], row["cost"])
    known = [part for part in parts if part is not None]
    if own is None or len(known) < len(parts):
        return job_of(row, position=place)
    return job_of(row, position=place, eta=sum(known) / max(workers, 1) + own)


def _expected(connection: Connection, kind: str, checkpoint: str, cost: float) -> float | None:
    seconds = connection.execute(
        select(timings.c.seconds).where(timings.c.key == timing_key(kind, checkpoint))
    ).scalar()
    return None if seconds is None else float(seconds) * cost


def _remaining(connection: Connection, row: RowMapping) -> float | None:
    """Seconds a running job still takes: by its own pace once it has done a tenth, by others' until then."""
    elapsed = time.time() - row["started"]
    fraction = (json.loads(row["progress"] or "null") or {}).get("fraction", 0.0)
    if fraction >= 0.1:
        return float(elapsed / fraction * (1 - fraction))
    expected = _expected(connection, row["kind"], row["checkpoint"], row["cost"])
    return None if expected is None else max(0.0, expected - elapsed)


def timing_key(kind: str, checkpoint: str) -> str:
    """What timings are kept by."""
    return f"{kind} {checkpoint}"
