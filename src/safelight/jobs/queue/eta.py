"""Estimates of when jobs will end, from measured times.

A timing is the time for one unit of a job's cost: the seconds the job takes alone, or its share of the seconds where
several jobs were generated together. So the work ahead of a job adds up, however workers combine it, and all workers
share it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, func, or_, select

from safelight.database.coordination import now
from safelight.jobs.job import PAUSED, Job, JobState
from safelight.jobs.queue.mapping import timing_key, to_job
from safelight.jobs.queue.scheduling import TIME_SLICE
from safelight.jobs.queue.state import read_queue_state
from safelight.jobs.queue.tables import jobs, timings, workers

WORKER_TIMEOUT = 20.0
"""Seconds without a heartbeat after which a worker counts as gone."""
OWN_PACE_FRACTION = 0.1
"""Completed fraction of a job from which its own speed is a better estimate than the timings of other jobs."""


def with_estimates(connection: Connection, rows: Sequence[RowMapping]) -> list[Job]:
    """Jobs with their position in the queue and the seconds until they end, as far as timings are known.

    Args:
        connection: A connection to read with.
        rows: Rows of the jobs table; data that they share is read once.
    """
    if all(JobState(row["state"]).final for row in rows):
        return [to_job(row) for row in rows]
    estimator = _Estimator.read(connection)
    waiting = [row for row in rows if row["state"] == JobState.QUEUED]
    ahead = estimator.work_ahead_of_one(connection, waiting[0]) if len(waiting) == 1 else {}
    if len(waiting) > 1:
        ahead = estimator.work_ahead_of_many(connection, {row["id"] for row in waiting})
    return [estimator.to_job(row, ahead.get(row["id"])) for row in rows]


@dataclass(frozen=True)
class JobEstimate:
    """The position and the estimated end of an unfinished job.

    Args:
        id: The job's id.
        owner: The job's owner.
        position: Position in the queue, from 1; None while the job runs.
        eta: Seconds until the job ends, from measured times; None where they are unknown.
    """

    id: str
    owner: str
    position: int | None
    eta: float | None


def estimate_jobs(connection: Connection) -> list[JobEstimate]:
    """Estimates for all unfinished jobs from one snapshot: the running ones, then the queue in order."""
    estimator = _Estimator.read(connection)
    return [*estimator.running_estimates(), *estimator.queued_estimates(connection)]


@dataclass(frozen=True)
class _WorkAhead:
    """The position of a queued job, from 1, and the work ahead of it; None where part of that is unknown."""

    position: int
    work: float | None


@dataclass(frozen=True)
class _Estimator:
    """The data from which all estimates are made.

    Args:
        seconds_per_cost: Seconds per unit of cost, by kind and checkpoint.
        running: Rows of the running jobs.
        worker_count: The number of workers.
        read_at: The time by the database's clock, which also set the start times of the jobs.
        paused: Whether no job starts, so that it is unknown when a queued one ends.
    """

    seconds_per_cost: Mapping[str, float]
    running: Sequence[RowMapping]
    worker_count: int
    read_at: datetime
    paused: bool

    @classmethod
    def read(cls, connection: Connection) -> _Estimator:
        seconds_per_cost = {row.key: row.seconds for row in connection.execute(select(timings))}
        columns = (jobs.c.id, jobs.c.owner, jobs.c.kind, jobs.c.checkpoint, jobs.c.cost, jobs.c.priority)
        query = select(*columns, jobs.c.worker, jobs.c.started, jobs.c.attempt, jobs.c.progress)
        read_at = now(connection)
        timeout = timedelta(seconds=WORKER_TIMEOUT)
        recent = workers.c.seen.between(read_at - timeout, read_at + timeout)
        worker_query = select(func.count()).select_from(workers).where(recent)
        return cls(
            seconds_per_cost,
            connection.execute(query.where(jobs.c.state == JobState.RUNNING)).mappings().all(),
            max(1, connection.execute(worker_query).scalar_one()),
            read_at,
            read_queue_state(connection).paused,
        )

    def to_job(self, row: RowMapping, ahead: _WorkAhead | None) -> Job:
        """A row as a job."""
        if row["state"] == JobState.RUNNING:
            return to_job(row, eta=self._remaining_seconds(row))
        if ahead is None:
            return to_job(row)
        return to_job(row, position=ahead.position, eta=self._queued_seconds(row, ahead))

    def running_estimates(self) -> Iterator[JobEstimate]:
        """Estimates for the running jobs."""
        for row in self.running:
            yield JobEstimate(row["id"], row["owner"], None, self._remaining_seconds(row))

    def queued_estimates(self, connection: Connection) -> Iterator[JobEstimate]:
        """Estimates for the queued jobs, in order."""
        for row, ahead in self._iter_queue(connection):
            yield JobEstimate(row["id"], row["owner"], ahead.position, self._queued_seconds(row, ahead))

    def work_ahead_of_one(self, connection: Connection, row: RowMapping) -> dict[str, _WorkAhead]:
        """The work ahead of a queued job, by its id."""
        groups = connection.execute(
            select(jobs.c.kind, jobs.c.checkpoint, func.count(), func.sum(jobs.c.cost))
            .where(_is_ahead_of(row))
            .group_by(jobs.c.kind, jobs.c.checkpoint)
        ).all()
        position = 1 + sum(count for _, _, count, _ in groups)
        works = [self._work(kind, checkpoint, cost) for kind, checkpoint, _, cost in groups]
        return {row["id"]: _WorkAhead(position, _sum_known(works))}

    def work_ahead_of_many(self, connection: Connection, ids: set[str]) -> dict[str, _WorkAhead]:
        """The work ahead of several queued jobs, by id, from one pass over the queue."""
        return {row["id"]: ahead for row, ahead in self._iter_queue(connection) if row["id"] in ids}

    def _iter_queue(self, connection: Connection) -> Iterator[tuple[RowMapping, _WorkAhead]]:
        work: float | None = 0.0
        queue = (
            select(jobs.c.id, jobs.c.owner, jobs.c.kind, jobs.c.checkpoint, jobs.c.cost, jobs.c.priority)
            .where(jobs.c.state == JobState.QUEUED)
            .order_by(jobs.c.priority.desc(), jobs.c.turn, jobs.c.id)
        )
        for position, row in enumerate(connection.execute(queue).mappings(), 1):
            yield row, _WorkAhead(position, work)
            work = _sum_known([work, self._work(row["kind"], row["checkpoint"], row["cost"])])

    def _work(self, kind: str, checkpoint: str, cost: float) -> float | None:
        seconds = self.seconds_per_cost.get(timing_key(kind, checkpoint))
        return None if seconds is None else seconds * cost

    def _queued_seconds(self, row: RowMapping, ahead: _WorkAhead) -> float | None:
        """Seconds until a queued job ends."""
        own_work = self._work(row["kind"], row["checkpoint"], row["cost"])
        if self.paused or own_work is None or ahead.work is None:
            return None
        running_work = self._running_work(row, ahead.work + own_work)
        return None if running_work is None else (running_work + ahead.work) / self.worker_count + own_work

    def _running_work(self, row: RowMapping, work: float) -> float | None:
        """The work of running jobs that is done before a queued job ends; jobs of one worker run together.

        Running jobs of other owners alternate with it: they get at most as much time as its own work and the work
        ahead of it.
        """

        def bounded(other: RowMapping, left: float | None) -> float | None:
            alternates = other["owner"] != row["owner"] and other["priority"] <= row["priority"]
            return min(left, work + TIME_SLICE) if alternates and left is not None else left

        return _sum_known([bounded(other, left) for other, left in self._running_shares])

    @cached_property
    def _running_shares(self) -> Sequence[tuple[RowMapping, float | None]]:
        """The running jobs, each with its share of the time that its group of jobs on the worker still takes."""
        remaining = [(row, self._remaining_alone(row)) for row in self.running]
        return [
            (row, None if seconds is None else seconds / self._group_sizes[self._group(row)])
            for row, seconds in remaining
        ]

    @cached_property
    def _group_sizes(self) -> Counter[tuple[str, bool]]:
        """The number of running and of paused jobs of each worker."""
        return Counter(map(self._group, self.running))

    @staticmethod
    def _group(row: RowMapping) -> tuple[str, bool]:
        """The worker of a running job, and whether the job is paused."""
        return row["worker"], _progress(row).get("stage") == PAUSED

    def _remaining_seconds(self, row: RowMapping) -> float | None:
        """Seconds until a running job ends, with the pauses for jobs of other owners that are known now."""
        remaining = self._remaining_alone(row)
        if remaining is None or not any(
            paused and worker == row["worker"] for worker, paused in self._group_sizes
        ):
            return remaining
        others = [self._remaining_alone(other) for other in self.running if self._shares_worker(row, other)]
        return remaining + sum(min(remaining, other) for other in others if other is not None)

    @staticmethod
    def _shares_worker(row: RowMapping, other: RowMapping) -> bool:
        return bool(other["worker"] == row["worker"] and other["owner"] != row["owner"])

    def _remaining_alone(self, row: RowMapping) -> float | None:
        """Seconds a running job takes without pauses: by its own speed once that is known, else by timings."""
        progress = _progress(row)
        elapsed: float = progress.get("seconds") or self._seconds_since(row["started"])
        fraction = float(progress.get("fraction", 0.0))
        first_attempt = row["attempt"] == 1  # otherwise part of it was done by an earlier attempt
        if first_attempt and fraction >= OWN_PACE_FRACTION:
            return elapsed / fraction * (1 - fraction)
        work = self._work(row["kind"], row["checkpoint"], row["cost"])
        if work is None:
            return None
        total = work * self._group_sizes[self._group(row)]
        return max(0.0, total - elapsed) if first_attempt else total * (1 - fraction)

    def _seconds_since(self, started: datetime) -> float:
        """Seconds since a time."""
        return max(0.0, (self.read_at - started).total_seconds())


def _progress(row: RowMapping) -> Mapping[str, Any]:
    """The last progress of a running job; empty if it has none yet."""
    return json.loads(row["progress"] or "null") or {}


def _sum_known(parts: Sequence[float | None]) -> float | None:
    """The sum; None if a part is unknown."""
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _is_ahead_of(row: RowMapping) -> Any:
    """The condition for queued jobs that come before this one."""
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
