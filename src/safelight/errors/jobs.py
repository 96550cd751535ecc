"""Errors of jobs, the queue and its workers."""

from __future__ import annotations

from safelight.errors.base import InputError, SafelightError


class JobError(InputError):
    """A job cannot be submitted, found or changed."""

    code = "job"
    summary = "The job cannot be used like this."


class JobKindUnknownError(JobError):
    """There is no such job kind."""

    code = "job.kind"
    default_field = "kind"
    summary = "There is no job kind of that name."
    default_hint = "A plug-in that registers it may be missing."
    http_status = 422


class JobMissingError(JobError):
    """There is no such job, or it belongs to another owner."""

    code = "job.missing"
    summary = "There is no such job."
    default_hint = "Jobs are forgotten some days after they end; GET /v1/jobs lists yours."
    http_status = 404


class JobEndedError(JobError):
    """The job has ended and cannot be cancelled."""

    code = "job.over"
    summary = "The job has ended already."
    default_hint = "Its result stays until the job expires."
    http_status = 409


class JobNotSkippableError(JobError):
    """The job has no pictures to skip."""

    code = "job.skip"
    summary = "Only jobs that generate pictures have pictures that can be skipped."
    default_hint = "Cancel the job instead."
    http_status = 409


class JobNotQueuedError(JobError):
    """The job does not wait in the queue, so it cannot be moved."""

    code = "job.not_queued"
    summary = "The job does not wait in the queue any more."
    default_hint = "Only queued jobs can be moved."
    http_status = 409


class JobMoveError(JobError):
    """The job cannot be put before the other one."""

    code = "job.move"
    summary = "The job cannot be put before the other one."
    default_hint = "A job is moved among the queued jobs of its owner and its priority."
    http_status = 409


class JobUnfinishedError(JobError):
    """The job has no result yet."""

    code = "job.unfinished"
    summary = "The job has not ended yet."
    default_hint = "Wait for its last event, or ask again later."
    http_status = 409


class ResultMissingError(JobError):
    """The job ended without the requested result or picture."""

    code = "job.no_result"
    summary = "The job has no such result."
    default_hint = "GET /v1/jobs/{id} says how it ended, and its result which pictures there are."
    http_status = 404


class PreviewMissingError(JobError):
    """The job has no preview."""

    code = "job.no_preview"
    summary = "The job has no preview at this moment."
    default_hint = (
        "There are previews only while a picture is generated; an event of kind preview announces each."
    )
    http_status = 404


class PriorityError(JobError):
    """Only administrators may set the priority."""

    code = "job.priority"
    default_field = "priority"
    summary = "Only administrators may put a job before those of others."
    default_hint = "Leave the priority out, or give one of -100 to 0."
    http_status = 403


class IdempotencyConflictError(JobError):
    """The idempotency key was used for a different request."""

    code = "job.idempotency"
    summary = "The idempotency key was used for another request."
    default_hint = "Use a new key for a new request."
    http_status = 409


class QueueFullError(SafelightError):
    """The queue is full."""

    code = "queue.full"
    summary = "Too many jobs wait already."
    default_hint = "Try again when some are done; the setting queue_capacity says how many may wait."
    http_status = 503


class JobTooLargeError(JobError):
    """The job exceeds the limit on work per job."""

    code = "job.size"
    default_field = "count"
    summary = "The job is more work than one job may be."
    default_hint = (
        "Ask for fewer pictures, fewer steps or smaller pictures; an administrator can raise max_job_work."
    )
    http_status = 422


class JobTimeoutError(SafelightError):
    """The job exceeded its time limit."""

    code = "job.timeout"
    summary = "The job ran longer than it may."
    default_hint = "Give it more time, or less to do."
    http_status = 504


class WorkerLostError(SafelightError):
    """The job's workers died repeatedly."""

    code = "worker.lost"
    summary = "The worker that ran the job was lost more than once."
    default_hint = "It may need more memory than there is: try a smaller size or a smaller checkpoint."
    http_status = 500


class WorkerNameError(InputError):
    """Another worker has the same name."""

    code = "worker.name"
    summary = "Another worker has this name, and interrupted jobs return to workers by name."
    default_hint = "End the other one, or choose another name with --name."
    http_status = 409


class WorkerMissingError(SafelightError):
    """There is no worker for the job."""

    code = "worker.missing"
    summary = "There is no worker that could do this."
    default_hint = "safelight serve starts workers; GET /v1/system lists those that live."
    http_status = 503
