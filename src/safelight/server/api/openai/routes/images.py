"""``/v1/images/…`` as OpenAI's clients call them: the request waits for its job, or streams its events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Form, Header, Request, Response, UploadFile

from safelight.errors import SafelightError, UnsupportedFieldError
from safelight.generation.reference import MAX_REFERENCES
from safelight.jobs.job import Job, JobKind
from safelight.server.api import outcomes
from safelight.server.api.adapter_lists import recalled_adapter
from safelight.server.api.checkpoint_names import SelectedCheckpoint
from safelight.server.api.job_fields import GenerateFields, check_names, decode_images
from safelight.server.api.openai import responses as answers
from safelight.server.api.openai import retries as retries
from safelight.server.api.openai.errors import error_body
from safelight.server.api.openai.requests import (
    check_form,
    edit_cost,
    edit_fields,
    generation_fields,
    variation_fields,
)
from safelight.server.api.openai.responses import ImageItem, ImagesResponse
from safelight.server.api.openai.schemas import (
    CommonFields,
    EditForm,
    GenerationBody,
    GenerationFields,
    VariationForm,
)
from safelight.server.api.openai_model_names import resolve_model
from safelight.server.api.sse import EventData, sse_response
from safelight.server.core.app_state import AppState, CurrentAppState
from safelight.server.core.events.previews import CurrentModerationService, load_preview
from safelight.server.core.exception_handlers import error_response, record_error
from safelight.server.core.executors.image_cost import decode_cost
from safelight.server.core.moderation_service import ModerationService
from safelight.server.core.request_bodies.multipart import JsonRoute
from safelight.server.core.request_bodies.payload_decoding import decode_image
from safelight.server.core.submission import find_latest, submit
from safelight.server.middleware.disconnects import client_connection
from safelight.server.security.allowlist import default_checkpoint_name
from safelight.server.security.dependencies import CurrentPrincipal, Principal

router = APIRouter(prefix="/v1/images", tags=["OpenAI"], route_class=JsonRoute)

MULTIPART = "multipart/form-data"
STREAM_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
        "description": "Pictures, or events.",
    }
}
IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=200, description="Repeating a key returns the job of its first request."),
]


@router.post(
    "/generations",
    operation_id="openai_generate",
    summary="Generate from a prompt",
    response_model=ImagesResponse,
    response_model_exclude_none=True,
    responses=STREAM_RESPONSES,
)
async def generations(
    form: GenerationBody,
    request: Request,
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    moderation_service: CurrentModerationService,
    idempotency_key: IdempotencyKey = None,
) -> ImagesResponse | Response:
    """Generate pictures and wait for them, or with ``stream`` receive them as events."""
    check_form(form)
    checkpoint = await _resolve_checkpoint(form, app_state)
    fields = generation_fields(form, checkpoint)
    job = await _submit_or_resume(request, app_state, principal, fields, idempotency_key)
    return await _respond(form, job, "image_generation", request, app_state, moderation_service)


@router.post(
    "/edits",
    operation_id="openai_edit",
    summary="Edit a picture",
    response_model=ImagesResponse,
    response_model_exclude_none=True,
    responses=STREAM_RESPONSES,
)
async def edits(
    form: Annotated[EditForm, Form(media_type=MULTIPART)],
    request: Request,
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    moderation_service: CurrentModerationService,
    idempotency_key: IdempotencyKey = None,
) -> ImagesResponse | Response:
    """Repaint the transparent part of the mask or of the picture itself; without one, all of the picture.

    A checkpoint that looks at references looks at all pictures, and edits the first one.
    """
    check_form(form)
    given = [*form.image, *form.images]
    if not 1 <= len(given) <= MAX_REFERENCES:
        raise UnsupportedFieldError(
            f"image: give 1 to {MAX_REFERENCES} pictures; {len(given)} came.", field="image"
        )
    images = [await _read_upload(each, app_state) for each in given]
    mask = None if form.mask is None else await _read_upload(form.mask, app_state)
    checkpoint = await _resolve_checkpoint(form, app_state)
    limits = app_state.studio.limits
    cost = await app_state.threads.run_inspect(edit_cost, images[0], mask, limits)
    fields = await app_state.threads.run_image(cost, edit_fields, form, checkpoint, images, mask, limits)
    job = await _submit_or_resume(request, app_state, principal, fields, idempotency_key)
    return await _respond(form, job, "image_edit", request, app_state, moderation_service)


@router.post(
    "/variations",
    operation_id="openai_vary",
    summary="Vary a picture",
    response_model=ImagesResponse,
    response_model_exclude_none=True,
)
async def variations(
    form: Annotated[VariationForm, Form(media_type=MULTIPART)],
    request: Request,
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    idempotency_key: IdempotencyKey = None,
) -> ImagesResponse | Response:
    """Generate from a picture, with its own prompt where its metadata has one."""
    image = await _read_upload(form.image, app_state)
    checkpoint = await _resolve_checkpoint(form, app_state)
    limits = app_state.studio.limits
    cost = await app_state.threads.run_inspect(decode_cost, image, limits)
    settings = app_state.service.settings

    def has_adapter(name: str) -> bool:
        return recalled_adapter(name, None, settings) is not None

    fields = await app_state.threads.run_image(
        cost, variation_fields, form, checkpoint, image, limits, has_adapter
    )
    job = await _submit_or_resume(request, app_state, principal, fields, idempotency_key)
    return await _wait_for_images(form, job, request, app_state)


async def _resolve_checkpoint(form: CommonFields, app_state: AppState) -> SelectedCheckpoint:
    return await asyncio.to_thread(resolve_model, form.model, app_state.service.settings)


async def _read_upload(upload: UploadFile, app_state: AppState) -> bytes:
    return await decode_image(await upload.read(), app_state)


async def _submit_or_resume(
    request: Request, app_state: AppState, principal: Principal, fields: dict[str, Any], key: str | None
) -> Job:
    """Submit the job of a request, or find the one that an earlier attempt of OpenAI's client submitted."""
    decoded = await decode_images(GenerateFields, fields, app_state, principal)
    fields = await asyncio.to_thread(check_names, decoded, app_state.service.settings)
    tries = retries.retry_count(request.headers)
    if key is None and tries is not None:
        mark = retries.retry_key_prefix(request.url.path, fields)
        if tries and (job := await find_latest(app_state, principal, mark, retries.MAX_RETRY_AGE)):
            return job
        key = retries.new_retry_key(mark)
    return await submit(app_state, principal, JobKind.GENERATE, fields, idempotency_key=key)


async def _respond(
    form: GenerationFields,
    job: Job,
    name: str,
    request: Request,
    app_state: AppState,
    moderation_service: ModerationService,
) -> ImagesResponse | Response:
    if form.stream:
        return sse_response(_events(form, job, name, app_state, moderation_service))
    return await _wait_for_images(form, job, request, app_state)


async def _wait_for_images(
    form: CommonFields, job: Job, request: Request, app_state: AppState
) -> ImagesResponse | Response:
    client_connection(request).cancel_on_disconnect()
    try:
        outcome = await outcomes.wait_for_outcome(app_state, job)
    except SafelightError as error:  # the job has ended: a retry would get the same error
        record_error(error, request.scope)
        response = error_response(error, request.url.path)
        response.headers.update(retries.NO_RETRY_HEADERS)
        return response
    if form.response_format == "url":
        base = str(request.base_url).rstrip("/")
        items = [ImageItem(url=f"{base}{facts.url}") for facts in outcome.visible]
    else:
        encode = _image_encoder(form, app_state)
        items = [
            ImageItem(b64_json=await encode(made.data))
            for made in await outcomes.read_images(app_state, outcome)
        ]
    return answers.images_response(form, outcome, items, _checkpoint_name(job, app_state))


def _checkpoint_name(job: Job, app_state: AppState) -> str:
    """The public name of a job's checkpoint."""
    return str(job.request.get("checkpoint") or default_checkpoint_name(app_state.service.settings))


async def _events(
    form: GenerationFields, job: Job, name: str, app_state: AppState, moderation_service: ModerationService
) -> AsyncGenerator[EventData, None]:
    """Previews, then the pictures; errors are events too, since the response has already started."""
    encode = _image_encoder(form, app_state)
    try:
        async for number, preview in _previews(form.partial_images or 0, job, app_state, moderation_service):
            yield answers.partial_event(name, form, number, await encode(preview))
        outcome = await outcomes.wait_for_outcome(app_state, job)
        drew, passed_over = _checkpoint_name(job, app_state), answers.ignored_fields(form, outcome)
        for made in await outcomes.read_images(app_state, outcome):
            yield answers.completed_event(name, form, made, await encode(made.data), drew, passed_over)
    except SafelightError as error:
        yield {"type": "error", **error_body(error)}


async def _previews(
    wanted: int, job: Job, app_state: AppState, moderation_service: ModerationService
) -> AsyncIterator[tuple[int, bytes]]:
    """At most the wanted number of previews, spread over the job; a fast job has fewer."""
    sent, share = 0, 0.0
    async for event in app_state.events.events(job.id):
        if event.kind == "progress":
            share = float(event.data["fraction"])
        if event.kind == "preview" and sent < wanted and share * (wanted + 1) >= sent + 1:
            data = await load_preview(app_state, moderation_service, job.id)
            if data is not None:
                yield sent, data
                sent += 1


def _image_encoder(form: CommonFields, app_state: AppState) -> Callable[[bytes], Any]:
    """A function that encodes an image file as base64 in a thread."""

    async def encode(data: bytes) -> str:
        limits = app_state.studio.limits
        cost = await app_state.threads.run_inspect(answers.encode_cost, form, data, limits)
        return await app_state.threads.run_image(cost, answers.encode_image, form, data, limits)

    return encode
