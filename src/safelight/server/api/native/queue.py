"""``/v1/queue``: pause and resume the queue; and the routes that change several jobs, or their order."""

from __future__ import annotations

import asyncio
from typing import Literal

from fastapi import APIRouter

from safelight.errors import JobMissingError, JobMoveError, JobNotQueuedError, RoleRequiredError
from safelight.jobs.job import Job, JobState
from safelight.jobs.queue.state import QueueState
from safelight.server.api.native.common import JobId
from safelight.server.api.native.openapi_responses import error_responses, example_response
from safelight.server.api.native.schemas.queue import (
    CancelBody,
    CancelOutcome,
    CancelOutcomes,
    ClearBody,
    ClearedJobs,
    MoveBody,
    QueuePlace,
    QueueView,
)
from safelight.server.api.openapi_examples import JOB, QUEUE
from safelight.server.core.app_state import AppState, CurrentAppState
from safelight.server.security.dependencies import CurrentAdmin, CurrentPrincipal, Principal, Role

router = APIRouter(prefix="/v1", tags=["jobs"])
MAX_JOBS = 1000
"""Maximum number of jobs in the answer about the queue."""

Outcome = Literal["cancelled", "stopping", "ended", "missing"]


@router.get(
    "/queue",
    operation_id="get_queue",
    summary="Get the queue",
    responses=error_responses() | example_response(QUEUE),
)
async def get_queue(app_state: CurrentAppState, principal: CurrentPrincipal) -> QueueView:
    """Whether the queue is paused, how many jobs there are, and the place of each of the user's."""
    return await asyncio.to_thread(_queue, app_state, principal)


@router.post(
    "/queue/pause",
    operation_id="pause_queue",
    summary="Pause the queue",
    responses=error_responses(RoleRequiredError) | example_response(QUEUE),
)
async def pause_queue(app_state: CurrentAppState, principal: CurrentAdmin) -> QueueView:
    """Start no further job, also after a restart of the server; running jobs continue, and jobs can be submitted."""

    def pause() -> QueueView:
        app_state.service.store.pause(principal.owner)
        app_state.audit_log.write("queue.paused")
        return _queue(app_state, principal)

    return await app_state.threads.run_write(pause)


@router.post(
    "/queue/resume",
    operation_id="resume_queue",
    summary="Resume the queue",
    responses=error_responses(RoleRequiredError) | example_response(QUEUE | {"paused": False}),
)
async def resume_queue(app_state: CurrentAppState, principal: CurrentAdmin) -> QueueView:
    """Start jobs again."""

    def resume() -> QueueView:
        app_state.service.store.resume()
        app_state.audit_log.write("queue.resumed")
        return _queue(app_state, principal)

    return await app_state.threads.run_write(resume)


@router.post(
    "/jobs/{job_id}/move",
    operation_id="move_job",
    summary="Move a queued job",
    responses=error_responses(JobMissingError, JobNotQueuedError, JobMoveError) | example_response(JOB),
)
async def move_job(
    job_id: JobId, body: MoveBody, app_state: CurrentAppState, principal: CurrentPrincipal
) -> Job:
    """Change the order of one's own queued jobs of one priority; administrators, of anybody's.

    The shares of different owners stay as they are: a job is moved among the jobs of its owner only.
    """
    return await app_state.threads.run_write(
        app_state.service.store.move, job_id, body.before, principal.scope
    )


@router.post(
    "/jobs/cancel",
    operation_id="cancel_jobs",
    summary="Cancel several jobs",
    responses=error_responses() | example_response({"jobs": [{"id": JOB["id"], "outcome": "cancelled"}]}),
)
async def cancel_jobs(
    body: CancelBody, app_state: CurrentAppState, principal: CurrentPrincipal
) -> CancelOutcomes:
    """Cancel the jobs that are named, or all of one's own that wait. Finished pictures are kept."""

    def cancel() -> CancelOutcomes:
        owner = principal.scope if body.ids is not None else principal.owner
        states = app_state.service.store.cancel_many(owner, body.ids)
        outcomes = [CancelOutcome(id=job_id, outcome=_outcome(state)) for job_id, state in states.items()]
        stopped = sum(each.outcome in ("cancelled", "stopping") for each in outcomes)
        if stopped:
            app_state.audit_log.write("jobs.cancelled", jobs=stopped)
        return CancelOutcomes(jobs=outcomes)

    return await app_state.threads.run_write(cancel)


@router.post(
    "/jobs/clear",
    operation_id="clear_jobs",
    summary="Clear ended jobs",
    responses=error_responses() | example_response({"cleared": 12}),
)
async def clear_jobs(body: ClearBody, app_state: CurrentAppState, principal: CurrentPrincipal) -> ClearedJobs:
    """Leave ended jobs out of GET /v1/jobs and of the live stream.

    Their pictures stay in the gallery, and each job can be asked for by its id until it expires.
    """
    owner = principal.scope if body.ids is not None else principal.owner
    cleared = await app_state.threads.run_write(app_state.service.store.clear_ended, owner, body.ids)
    return ClearedJobs(cleared=cleared)


def _outcome(state: JobState | None) -> Outcome:
    match state:
        case None:
            return "missing"
        case JobState.QUEUED:
            return "cancelled"
        case JobState.RUNNING:
            return "stopping"
    return "ended"


def _queue(app_state: AppState, principal: Principal) -> QueueView:
    store = app_state.service.store
    state: QueueState = store.queue_state()
    found = store.estimates()
    theirs = [each for each in found if principal.scope in (None, each.owner)][:MAX_JOBS]
    queued = sum(each.position is not None for each in found)
    return QueueView(
        paused=state.paused,
        paused_since=state.paused_since,
        paused_by=state.paused_by if state.paused and principal.role is Role.ADMIN else None,
        queued=queued,
        running=len(found) - queued,
        jobs=[
            QueuePlace(
                id=each.id,
                state=JobState.RUNNING if each.position is None else JobState.QUEUED,
                position=each.position,
                eta=each.eta,
            )
            for each in theirs
        ],
    )
