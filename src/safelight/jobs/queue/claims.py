"""The operations of workers on jobs: claim, renew the lease, report progress, and record the end.

A worker may change a job only while it holds the job (same worker, same attempt), so that a worker that was
considered lost cannot overwrite its successor's results.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import timedelta

from sqlalchemy import Connection, RowMapping, and_, func, or_, select, update

from safelight.database.coordination import now
from safelight.database.engine import read_transaction, write_transaction
from safelight.database.upsert import insert_into, upsert
from safelight.errors import SafelightError, WorkerLostError
from safelight.jobs.job import Job, JobState, JsonObject, Progress, Signal
from safelight.jobs.queue.mapping import timing_key, to_job
from safelight.jobs.queue.scheduling import LOOKAHEAD, Preemption, QueuedJob, choose_job
from safelight.jobs.queue.state import read_queue_state
from safelight.jobs.queue.tables import jobs, previews, timings, virtual_clock
from safelight.jobs.queue.transitions import Transitions, add_event, get_held_row, get_row, is_held

LEASE_SECONDS = 15.0
"""Seconds after which the jobs of a worker without a heartbeat return to the queue."""


class Claims(Transitions):
    """The operations of workers on jobs; see ``JobStore``."""

    def count_queued(self) -> int:
        """The number of queued jobs."""
        query = select(func.count()).select_from(jobs).where(jobs.c.state == JobState.QUEUED)
        with read_transaction(self._engine) as connection:
            return connection.execute(query).scalar_one()

    def claim(
        self,
        worker: str,
        *,
        loaded: frozenset[str] = frozenset(),
        admits: Callable[[Job], bool] = lambda _: True,
        preempting: Preemption | None = None,
    ) -> Job | None:
        """Claim the next job.

        Args:
            worker: The worker's name.
            loaded: Checkpoints in the worker's memory.
            admits: Called with the chosen job; if it cannot run beside the worker's running jobs, none is claimed, so
                that no other job overtakes it.
            preempting: Claim only a job that may preempt these.

        Returns:
            The job; None if none is queued, the next one cannot run now, or the queue is paused.
        """
        query = (
            select(jobs)
            .where(jobs.c.state == JobState.QUEUED)
            .order_by(jobs.c.priority.desc(), jobs.c.turn, jobs.c.id)
            .limit(LOOKAHEAD)
            .with_for_update()
        )
        if preempting is not None:
            higher, equal = jobs.c.priority > preempting.priority, jobs.c.priority == preempting.priority
            query = query.where(or_(higher, and_(equal, jobs.c.owner.not_in(preempting.excluded_owners))))
        with write_transaction(self._engine) as connection:
            if read_queue_state(connection).paused:
                return None
            rows = sorted(
                connection.execute(query).mappings(), key=_queue_order
            )  # it may have changed meanwhile
            by_id = {row["id"]: row for row in rows}
            queue = [QueuedJob(*(row[name] for name in QueuedJob.__dataclass_fields__)) for row in rows]
            scheduled = choose_job(queue, loaded)
            if scheduled is None or not admits(to_job(by_id[scheduled.job.id])):
                return None
            if scheduled.passed:
                passed = jobs.c.id.in_([other.id for other in scheduled.passed])
                connection.execute(update(jobs).where(passed).values(passed=jobs.c.passed + 1))
            return self._begin(connection, by_id[scheduled.job.id], worker)

    @staticmethod
    def _begin(connection: Connection, row: RowMapping, worker: str) -> Job:
        started, attempt = now(connection), row["attempt"] + 1
        connection.execute(
            update(jobs)
            .where(jobs.c.id == row["id"])
            .values(
                state=JobState.RUNNING,
                started=started,
                attempt=attempt,
                worker=worker,
                lease=started + timedelta(seconds=LEASE_SECONDS),
                signal=None,
                progress=None,
            )
        )
        _advance_clock(connection, row["priority"], row["turn"])
        add_event(connection, row["id"], "state", state=JobState.RUNNING, attempt=attempt)
        return to_job(get_row(connection, row["id"]))

    def renew(self, worker: str, held: Iterable[Job]) -> dict[str, Signal | None]:
        """Renew the leases of running jobs; returns their signals: CANCEL for a job that the worker has lost."""
        held = list(held)
        with write_transaction(self._engine) as connection:
            condition = jobs.c.id.in_([job.id for job in held]) & (jobs.c.worker == worker)
            connection.execute(
                update(jobs)
                .where(condition, jobs.c.state == JobState.RUNNING)
                .values(lease=now(connection) + timedelta(seconds=LEASE_SECONDS))
            )
            query = select(jobs.c.id, jobs.c.attempt, jobs.c.state, jobs.c.signal).where(condition)
            rows_by_id = {row.id: row for row in connection.execute(query)}
        signals: dict[str, Signal | None] = {}
        for job in held:
            row = rows_by_id.get(job.id)
            held_by_worker = row is not None and row.state == JobState.RUNNING and row.attempt == job.attempt
            signals[job.id] = (
                (Signal(row.signal) if row and row.signal else None) if held_by_worker else Signal.CANCEL
            )
        return signals

    def signals(self, job_ids: Collection[str]) -> dict[str, Signal]:
        """The signals of jobs; jobs without one are left out."""
        query = select(jobs.c.id, jobs.c.signal).where(jobs.c.id.in_(job_ids), jobs.c.signal.is_not(None))
        with read_transaction(self._engine) as connection:
            return {row.id: Signal(row.signal) for row in connection.execute(query)}

    def clear_signal(self, job: Job, signal: Signal) -> None:
        """Clear a signal that has been followed, if the job continues."""
        with write_transaction(self._engine) as connection:
            connection.execute(update(jobs).where(is_held(job), jobs.c.signal == signal).values(signal=None))

    def report(self, job: Job, progress: Progress, preview: bytes | None = None) -> bool:
        """Record a job's progress; False if the worker no longer holds the job."""
        text = progress.model_dump_json()
        with write_transaction(self._engine) as connection:
            if not connection.execute(update(jobs).where(is_held(job)).values(progress=text)).rowcount:
                return False
            add_event(connection, job.id, "progress", **progress.model_dump())
            if preview is not None:
                number = self._store_preview(connection, job.id, preview)
                add_event(connection, job.id, "preview", number=number)
            return True

    @staticmethod
    def _store_preview(connection: Connection, job_id: str, data: bytes) -> int:
        last_number = connection.execute(
            select(previews.c.number).where(previews.c.job_id == job_id)
        ).scalar()
        number = 1 + (last_number or 0)
        upsert(connection, previews, {"job_id": job_id}, {"number": number, "data": data})
        return number

    def reset_lost_count(self, job: Job) -> None:
        """Record that a job has made lasting progress: workers lost before no longer count."""
        with write_transaction(self._engine) as connection:
            connection.execute(update(jobs).where(is_held(job)).values(lost=0))

    def succeed(self, job: Job, result: JsonObject, seconds: float | None = None) -> bool:
        """End a job as succeeded; False if the worker no longer holds it.

        Args:
            job: As it was claimed.
            result: The job's result.
            seconds: The duration of the work, for time estimates; None where part of it was done by an earlier
                attempt.
        """
        with write_transaction(self._engine) as connection:
            row = get_held_row(connection, job)
            if row is None:
                return False
            self._finish(connection, row, JobState.SUCCEEDED, result=result)
            if seconds is not None:
                _record_timing(connection, timing_key(row["kind"], row["checkpoint"]), seconds / row["cost"])
            return True

    def fail(self, job: Job, error: SafelightError, result: JsonObject | None = None) -> bool:
        """End a job as failed; False if the worker no longer holds it."""
        with write_transaction(self._engine) as connection:
            row = get_held_row(connection, job)
            if row is not None:
                self._finish(connection, row, JobState.FAILED, error=error, result=result)
            return row is not None

    def mark_cancelled(self, job: Job, result: JsonObject | None = None) -> bool:
        """End a job as cancelled after its worker has stopped it; False if the worker no longer holds it."""
        with write_transaction(self._engine) as connection:
            row = get_held_row(connection, job)
            if row is not None:
                self._finish(connection, row, JobState.CANCELLED, result=result)
            return row is not None

    def release(self, job: Job, result: JsonObject | None = None) -> bool:
        """Return the job of a worker that shuts down to the head of the queue, as if it had not been claimed.

        Args:
            job: As it was claimed.
            result: The result so far. It is stored if the job was cancelled meanwhile, which the worker need not
                know.

        Returns:
            False if the worker no longer holds the job.
        """
        with write_transaction(self._engine) as connection:
            row = get_held_row(connection, job)
            if row is None:
                return False
            if row["signal"] == Signal.CANCEL:
                self._finish(connection, row, JobState.CANCELLED, result=result)
            else:
                self._requeue(connection, row, attempt=row["attempt"] - 1, lost=row["lost"])
            return True

    def reclaim(self, worker: str | None = None, *, exclude: Collection[str] = ()) -> int:
        """Requeue jobs of lost workers; jobs that lost ``max_attempts`` workers without progress fail.

        Args:
            worker: Requeue the jobs of this worker, whose process has just restarted; jobs with an expired lease when
                not given.
            exclude: Ids of jobs that the caller is running, however late their lease was renewed.

        Returns:
            The number of jobs.
        """
        with write_transaction(self._engine) as connection:
            current = now(connection)
            latest_lease = current + timedelta(
                seconds=2 * LEASE_SECONDS
            )  # later: from before a clock was set back
            alive = jobs.c.lease.between(current, latest_lease)
            lost = ~alive if worker is None else jobs.c.worker == worker
            query = select(jobs).where(jobs.c.state == JobState.RUNNING, lost, jobs.c.id.not_in(exclude))
            rows = connection.execute(query.with_for_update(skip_locked=True)).mappings().all()
            for row in rows:
                lost_count = row["lost"] + 1
                if row["signal"] == Signal.CANCEL:
                    self._finish(connection, row, JobState.CANCELLED)
                elif lost_count >= self._rules().max_attempts:
                    error = WorkerLostError(
                        f"{lost_count} workers in a row were lost while they ran this job."
                    )
                    self._finish(connection, row, JobState.FAILED, error=error)
                else:
                    self._requeue(connection, row, attempt=row["attempt"], lost=lost_count)
        return len(rows)


def _queue_order(row: RowMapping) -> tuple[int, float, str]:
    return -row["priority"], row["turn"], row["id"]


def _advance_clock(connection: Connection, priority: int, turn: float) -> None:
    """Advance the virtual clock of a priority; it never goes back, in whatever order jobs were claimed."""
    insertion = insert_into(connection, virtual_clock).values(priority=priority, turn=turn)
    connection.execute(
        insertion.on_conflict_do_update(
            index_elements=["priority"], set_={"turn": turn}, where=virtual_clock.c.turn < turn
        )
    )


def _record_timing(connection: Connection, key: str, seconds: float) -> None:
    """Update a timing, a moving average in which the last three jobs weigh about half."""
    previous = connection.execute(select(timings.c.seconds).where(timings.c.key == key)).scalar()
    seconds = seconds if previous is None else 0.8 * previous + 0.2 * seconds
    upsert(connection, timings, {"key": key}, {"seconds": seconds})
