"""Conversion of the queue's rows to jobs and events."""

from __future__ import annotations

import json
import secrets
from datetime import datetime

from sqlalchemy import RowMapping

from safelight.jobs.job import Event, Failure, Job, Progress


def new_id(created: datetime) -> str:
    """A new id, which sorts by time and cannot be guessed: milliseconds and 64 random bits, in hexadecimal.

    Args:
        created: By the database's clock, so that ids from several hosts sort correctly.
    """
    return f"{int(created.timestamp() * 1000):011x}{secrets.token_hex(8)}"


def to_job(row: RowMapping, *, position: int | None = None, eta: float | None = None) -> Job:
    """A job from a row of the jobs table."""
    progress, result, error = (json.loads(row[name] or "null") for name in ("progress", "result", "error"))
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
        parent=row["parent"],
        position=position,
        eta=eta,
        progress=Progress(**progress) if progress else None,
        created=row["created"],
        started=row["started"],
        ended=row["ended"],
        expires=row["expires"],
        attempt=row["attempt"],
        lost=row["lost"],
        worker=row["worker"],
        result=result,
        error=Failure(**error) if error else None,
    )


def to_event(row: RowMapping) -> Event:
    """An event from a row of the events table."""
    return Event(
        id=row["id"],
        job_id=row["job_id"],
        kind=row["kind"],
        data=json.loads(row["data"]),
        created=row["created"],
    )


def timing_key(kind: str, checkpoint: str) -> str:
    """The key of a timing."""
    return f"{kind} {checkpoint}"
