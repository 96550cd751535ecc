"""``/v1/models/pulls``: download models from the hub and from CivitAI, for administrators."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path

from safelight.errors import (
    DownloadDeniedError,
    DownloadError,
    DownloadMissingError,
    ModelMissingError,
    ModelReferenceError,
    PickleRefusedError,
    RoleRequiredError,
    SettingsError,
)
from safelight.models.hub.pull import plan_pull, source_of
from safelight.models.hub.pull_plan import PullPlan
from safelight.models.hub.pull_queue import QueuedPull
from safelight.models.hub.references import parse_reference
from safelight.server.api.native.errors import NativeError
from safelight.server.api.native.openapi_responses import error_responses, example_response
from safelight.server.api.native.schemas.models import PullList, PullOffer, PullRequest, PullView
from safelight.server.api.openapi_examples import PULL, PULL_OFFER, PULLS
from safelight.server.core.app_state import AppState, CurrentAppState
from safelight.server.security.dependencies import CurrentAdmin

router = APIRouter(prefix="/v1/models/pulls", tags=["models"])
PULL_ERRORS = error_responses(
    RoleRequiredError,
    ModelReferenceError,
    PickleRefusedError,
    SettingsError,
    DownloadError,
    DownloadDeniedError,
    DownloadMissingError,
)


@router.post(
    "/preview",
    operation_id="preview_pull",
    summary="See size and licence of a model before it is downloaded",
    responses=PULL_ERRORS | example_response(PULL_OFFER),
)
async def preview_pull(body: PullRequest, app_state: CurrentAppState, _: CurrentAdmin) -> PullOffer:
    """Ask the model's source what a pull would download; for administrators.

    This contacts the hub or CivitAI whatever the setting ``allow_network`` says, which is about checkpoints that jobs
    name. The answer's ``reference`` names exactly this version.
    """
    return PullOffer.model_validate((await _plan(body, app_state)).to_dict())


@router.post(
    "",
    operation_id="pull_model",
    summary="Download a model",
    status_code=202,
    responses=PULL_ERRORS | example_response(PULL, 202),
)
async def pull_model(body: PullRequest, app_state: CurrentAppState, _: CurrentAdmin) -> PullView:
    """Download a model in the background, one after the other; for administrators.

    Its digest is checked, and it lies under its name only when it is complete. What has arrived of one that failed, was
    stopped, or was cut off by the server's end is continued by the same request.
    """
    plan = await _plan(body, app_state)
    added = app_state.pulls.add(plan)
    app_state.audit_log.write("model.pull", reference=plan.reference, files=len(plan.files))
    return _view(added)


@router.get(
    "",
    operation_id="list_pulls",
    summary="List downloads of models",
    responses=error_responses(RoleRequiredError) | example_response(PULLS),
)
async def list_pulls(app_state: CurrentAppState, _: CurrentAdmin) -> PullList:
    """The downloads since the server's start, the newest first; for administrators."""
    return PullList(pulls=[_view(each) for each in app_state.pulls.list()])


@router.delete(
    "/{pull_id}",
    operation_id="stop_pull",
    summary="Stop a download of a model",
    responses=error_responses(RoleRequiredError, ModelMissingError) | example_response(PULL),
)
async def stop_pull(
    pull_id: Annotated[str, Path(max_length=64)], app_state: CurrentAppState, _: CurrentAdmin
) -> PullView:
    """Stop a download, which keeps what has arrived for a week; for administrators."""
    stopped = app_state.pulls.stop(pull_id)
    if stopped is None:
        raise ModelMissingError("There is no such download.", hint="GET /v1/models/pulls lists them.")
    return _view(stopped)


async def _plan(body: PullRequest, app_state: AppState) -> PullPlan:
    def plan() -> PullPlan | None:
        reference = parse_reference(body.reference, body.file)
        return plan_pull(reference, source_of(reference, app_state.service.settings).impatient())

    found = await asyncio.to_thread(plan)
    if found is None:
        hint = f"On the server's machine: safelight models pull {body.reference}"
        raise ModelReferenceError(f"{body.reference} is a classifier.", hint=hint)
    return found


def _view(pull: QueuedPull) -> PullView:
    result = pull.result
    return PullView(
        id=pull.id,
        reference=pull.plan.reference,
        file=pull.plan.file,
        title=pull.plan.title,
        state=pull.state,
        size=pull.plan.size,
        done=pull.plan.size if pull.state == "done" else pull.done,
        name=result.name if result else None,
        kind=result.kind if result else None,
        family=result.family if result else None,
        remarks=list(result.remarks) if result else [],
        error=NativeError.model_validate(pull.error.to_dict()) if pull.error else None,
    )
