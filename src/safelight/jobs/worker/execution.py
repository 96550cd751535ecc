"""The execution of one job: from the stored request to the job's final state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safelight.errors import InternalError, JobTimeoutError, SafelightError
from safelight.jobs.job import JsonObject, Signal
from safelight.jobs.payloads import load_request
from safelight.jobs.queue_service import QueueService
from safelight.jobs.retry import retry_transient
from safelight.jobs.tasks import TASKS, JobContext
from safelight.jobs.worker.failures import understood
from safelight.jobs.worker.running_job import RunningJob
from safelight.jobs.worker.running_jobs import RunningJobs
from safelight.logs import get_logger, log_context

if TYPE_CHECKING:
    from safelight.generation.request import Part


class Execution:
    """Runs jobs of all kinds, and records how each of them ended.

    Args:
        service: The queue and the database.
        desk: The services that jobs use.
        company: The running jobs. A job is in it before it runs, and is removed afterwards.
    """

    def __init__(self, service: QueueService, desk: JobContext, company: RunningJobs) -> None:
        self._service, self._desk, self._company = service, desk, company
        self._log = get_logger(__name__)

    def run(self, running: RunningJob) -> None:
        """Run a job to its end."""
        job = running.job
        with log_context(job_id=job.id, request_id=job.request_id, worker=job.worker or ""):
            try:
                self._run(running)
            finally:
                self._company.leave(running)

    def _run(self, running: RunningJob) -> None:
        job = running.job
        self._log.info("job begins", kind=job.kind, attempt=job.attempt)
        try:
            request = running.patiently(lambda: self._request_of(running))
            result = TASKS[job.kind](self._desk, running, request).stored()
        except Exception as error:  # noqa: BLE001  no error of a job ends the worker
            self.conclude(running, error=understood(error))
        else:
            self.conclude(running, result)

    def _request_of(self, running: RunningJob) -> Part:
        with self._service.reading() as connection:
            return load_request(connection, running.job.kind, running.job.request)

    def conclude(
        self, running: RunningJob, result: JsonObject | None = None, error: SafelightError | None = None
    ) -> None:
        """Record how a job ended. This is retried without limit: a locked database must not lose a result."""
        running.flush()
        recorded = retry_transient(lambda: self._write_end(running, result, error), always=True)
        self._log.info(
            "job ends", seconds=round(running.seconds, 3), error=error.code if error else None, kept=recorded
        )
        if isinstance(error, InternalError):
            self._log.error("a defect", exc_info=error.__cause__)

    def _write_end(
        self, running: RunningJob, result: JsonObject | None, error: SafelightError | None
    ) -> bool:
        job, store = running.job, self._service.store
        if running.cut_short and running.told is Signal.CANCEL:
            return store.cancelled(job, result)
        if running.cut_short and running.leaving:
            return store.give_back(job, result)
        if running.cut_short and running.late:
            timeout_error = JobTimeoutError(f"The job ran longer than {running.limit:g} seconds.")
            return store.fail(job, timeout_error, result)
        if error is not None:
            return store.fail(job, error)
        complete = not (running.partial or running.cut_short)
        return store.succeed(job, result or {}, self._company.share(running) if complete else None)
