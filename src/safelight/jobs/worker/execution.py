"""The execution of one job: from the stored request to the job's final state."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import select

from safelight.errors import DeviceBrokenError, InternalError, JobTimeoutError, SafelightError
from safelight.generation.request import GenerationRequest
from safelight.jobs.job import JsonObject, Signal
from safelight.jobs.payloads import load_request
from safelight.jobs.queue.tables import jobs
from safelight.jobs.queue_service import QueueService
from safelight.jobs.retry import retry_transient
from safelight.jobs.task import TASKS
from safelight.jobs.tasks import JobContext
from safelight.jobs.worker.failures import to_safelight_error
from safelight.jobs.worker.running_job import RunningJob
from safelight.jobs.worker.running_jobs import RunningJobs
from safelight.logs import get_logger, log_context

if TYPE_CHECKING:
    from safelight.generation.request import RequestPart


class JobRunner:
    """Runs jobs of all kinds, and records how each of them ended.

    Args:
        service: The queue and the database.
        context: The services that jobs use.
        running_jobs: The running jobs. A job is in it before it runs, and is removed afterwards.
        on_broken_device: Called after a job during which the device failed.
    """

    def __init__(
        self,
        service: QueueService,
        context: JobContext,
        running_jobs: RunningJobs,
        on_broken_device: Callable[[], None] = lambda: None,
    ) -> None:
        self._service, self._context, self._running_jobs = service, context, running_jobs
        self._on_broken_device = on_broken_device
        self._log = get_logger(__name__)

    def run(self, running: RunningJob) -> None:
        """Run a job to its end."""
        job = running.job
        with log_context(job_id=job.id, request_id=job.request_id, worker=job.worker or ""):
            try:
                self._run(running)
            finally:
                self._running_jobs.remove(running)

    def _run(self, running: RunningJob) -> None:
        job = running.job
        self._log.info("job begins", kind=job.kind, attempt=job.attempt)
        try:
            request = running.retry_database(lambda: self._load_request(running))
            result = TASKS[job.kind].run(self._context, running, request).to_dict()
        except Exception as error:  # noqa: BLE001  no error of a job ends the worker
            ours = to_safelight_error(error)
            self.finish(running, error=ours)
            if isinstance(ours, DeviceBrokenError):
                self._on_broken_device()
        else:
            self.finish(running, result)

    def _load_request(self, running: RunningJob) -> RequestPart:
        """The request, with the checkpoint that was the default one when the job was submitted."""
        job = running.job
        with self._service.read_transaction() as connection:
            request = load_request(connection, job.kind, job.request)
            checkpoint = connection.execute(select(jobs.c.checkpoint).where(jobs.c.id == job.id)).scalar()
        if checkpoint and isinstance(request, GenerationRequest) and request.checkpoint is None:
            return request.model_copy(update={"checkpoint": checkpoint})
        return request

    def finish(
        self, running: RunningJob, result: JsonObject | None = None, error: SafelightError | None = None
    ) -> None:
        """Record how a job ended. This is retried without limit: a locked database must not lose a result."""
        running.flush()
        recorded = retry_transient(lambda: self._write_end(running, result, error), retry_all=True)
        self._log.info(
            "job ends", seconds=round(running.seconds, 3), error=error.code if error else None, kept=recorded
        )
        if isinstance(error, InternalError):
            self._log.error("a defect", exc_info=error.__cause__)

    def _write_end(
        self, running: RunningJob, result: JsonObject | None, error: SafelightError | None
    ) -> bool:
        job, store = running.job, self._service.store
        if running.interrupted and running.signal is Signal.CANCEL:
            return store.mark_cancelled(job, result)
        if running.interrupted and running.worker_stopping:
            return store.release(job, result)
        if running.interrupted and running.timed_out:
            timeout_error = JobTimeoutError(f"The job ran longer than {running.time_limit:g} seconds.")
            return store.fail(job, timeout_error, result)
        if error is not None:
            return store.fail(job, error)
        complete = not (running.partial or running.interrupted)
        return store.succeed(job, result or {}, self._running_jobs.seconds_of(running) if complete else None)
