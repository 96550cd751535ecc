"""``/v1/images/…`` as OpenAI's clients call them: the request waits for its job, or streams its events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Form, Header, Request, Response, UploadFile

from safelight.errors import FieldError, SafelightError
from safelight.jobs.job import Job, JobKind
from safelight.server.auth import Caller, Who
from safelight.server.bodies import JsonRoute
from safelight.server.compat import openai_answers as answers
from safelight.server.compat import openai_retries as retries
from safelight.server.compat import results
from safelight.server.compat.checkpoints import Chosen
from safelight.server.compat.openai_answers import ImageItem, ImagesBody
from safelight.server.compat.openai_fields import Common, Drawing, EditForm, GenerationBody, VariationForm
from safelight.server.compat.openai_models import model_named
from safelight.server.compat.openai_request import (
    check,
    drawing_fields,
    edit_cost,
    edit_fields,
    variation_fields,
)
from safelight.server.compat.previews import TheJudge, preview_of
from safelight.server.compat.sse import Event, event_stream
from safelight.server.errors_http import remember, response_to
from safelight.server.families import Family, body_of
from safelight.server.fields import taken_in
from safelight.server.judging import Judge
from safelight.server.middleware.disconnects import client
from safelight.server.names import own_name
from safelight.server.picture_cost import reading
from safelight.server.state import Backstage, Behind
from safelight.server.submitting import latest, submit

router = APIRouter(prefix="/v1/images", tags=["OpenAI"], route_class=JsonRoute)

MULTIPART = "multipart/form-data"
EVENTS: dict[int | str, dict[str, Any]] = {
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
    response_model=ImagesBody,
    response_model_exclude_none=True,
    responses=EVENTS,
)
async def generations(
    form: GenerationBody,
    request: Request,
    behind: Behind,
    who: Who,
    judging: TheJudge,
    idempotency_key: IdempotencyKey = None,
) -> ImagesBody | Response:
    """Generate pictures and wait for them, or with ``stream`` receive them as events."""
    check(form)
    checkpoint = await _checkpoint(form, behind)
    job = await _begun(request, behind, who, drawing_fields(form, checkpoint), idempotency_key)
    return await _answer(form, job, "image_generation", request, behind, judging)


@router.post(
    "/edits",
    operation_id="openai_edit",
    summary="Edit a picture",
    response_model=ImagesBody,
    response_model_exclude_none=True,
    responses=EVENTS,
)
async def edits(
    form: Annotated[EditForm, Form(media_type=MULTIPART)],
    request: Request,
    behind: Behind,
    who: Who,
    judging: TheJudge,
    idempotency_key: IdempotencyKey = None,
) -> ImagesBody | Response:
    """Repaint the transparent part of the mask or of the picture itself; without one, all of the picture."""
    check(form)
    given = [*form.image, *form.images]
    if len(given) != 1:
        raise FieldError(f"image: one picture at a time; {len(given)} came.", field="image")
    image = await _read(given[0], behind)
    mask = None if form.mask is None else await _read(form.mask, behind)
    checkpoint = await _checkpoint(form, behind)
    limits = behind.studio.limits
    cost = await behind.threads.picture(edit_cost, image, mask, limits)
    fields = await behind.threads.pixels(cost, edit_fields, form, checkpoint, image, mask, limits)
    job = await _begun(request, behind, who, fields, idempotency_key)
    return await _answer(form, job, "image_edit", request, behind, judging)


@router.post(
    "/variations",
    operation_id="openai_vary",
    summary="Vary a picture",
    response_model=ImagesBody,
    response_model_exclude_none=True,
)
async def variations(
    form: Annotated[VariationForm, Form(media_type=MULTIPART)],
    request: Request,
    behind: Behind,
    who: Who,
    idempotency_key: IdempotencyKey = None,
) -> ImagesBody | Response:
    """Generate from a picture, with its own prompt where its metadata has one."""
    image = await _read(form.image, behind)
    checkpoint = await _checkpoint(form, behind)
    limits = behind.studio.limits
    cost = await behind.threads.picture(reading, image, limits)
    fields = await behind.threads.pixels(cost, variation_fields, form, checkpoint, image, limits)
    job = await _begun(request, behind, who, fields, idempotency_key)
    return await _whole(form, job, request, behind)


async def _checkpoint(form: Common, behind: Backstage) -> Chosen:
    return await asyncio.to_thread(model_named, form.model, behind.service.settings)


async def _read(upload: UploadFile, behind: Backstage) -> bytes:
    return await taken_in(await upload.read(), behind)


async def _begun(
    request: Request, behind: Backstage, who: Caller, fields: dict[str, Any], key: str | None
) -> Job:
    """Submit the job of a request, or find the one that an earlier attempt of OpenAI's client submitted."""
    tries = retries.tries_before(request.headers)
    if key is None and tries is not None:
        mark = retries.mark_of(request.url.path, fields)
        if tries and (job := await latest(behind, who, mark, retries.LONGEST)):
            return job
        key = retries.key_of(mark)
    return await submit(behind, who, JobKind.GENERATE, fields, idempotency_key=key)


async def _answer(
    form: Drawing, job: Job, name: str, request: Request, behind: Backstage, judging: Judge
) -> ImagesBody | Response:
    if form.stream:
        return event_stream(_events(form, job, name, behind, judging))
    return await _whole(form, job, request, behind)


async def _whole(form: Common, job: Job, request: Request, behind: Backstage) -> ImagesBody | Response:
    client(request).end_work_with_them()
    try:
        outcome = await results.ended(behind, job)
    except SafelightError as error:  # the job has ended: a retry would get the same error
        remember(error, request.scope)
        response = response_to(error, request.url.path)
        response.headers.update(retries.NO_MORE)
        return response
    if form.response_format == "url":
        base = str(request.base_url).rstrip("/")
        items = [ImageItem(url=f"{base}{facts.url}") for facts in outcome.shown]
    else:
        encode = _encoder(form, behind)
        items = [ImageItem(b64_json=await encode(made.data)) for made in await results.read(behind, outcome)]
    return answers.images_body(form, outcome, items, _drew(job, behind))


def _drew(job: Job, behind: Backstage) -> str:
    """The public name of a job's checkpoint."""
    return str(job.request.get("checkpoint") or own_name(behind.service.settings))


async def _events(
    form: Drawing, job: Job, name: str, behind: Backstage, judging: Judge
) -> AsyncGenerator[Event, None]:
    """Previews, then the pictures; errors are events too, since the response has already started."""
    encode = _encoder(form, behind)
    try:
        async for number, preview in _previews(form.partial_images or 0, job, behind, judging):
            yield answers.partial_event(name, form, number, await encode(preview))
        outcome = await results.ended(behind, job)
        drew, passed_over = _drew(job, behind), answers.ignored(form, outcome)
        for made in await results.read(behind, outcome):
            yield answers.completed_event(name, form, made, await encode(made.data), drew, passed_over)
    except SafelightError as error:
        yield {"type": "error", **body_of(error, Family.OPENAI)}


async def _previews(
    wanted: int, job: Job, behind: Backstage, judging: Judge
) -> AsyncIterator[tuple[int, bytes]]:
    """At most the wanted number of previews, spread over the job; a fast job has fewer."""
    sent, share = 0, 0.0
    async for event in behind.feed.events(job.id):
        if event.kind == "progress":
            share = float(event.data["fraction"])
        if event.kind == "preview" and sent < wanted and share * (wanted + 1) >= sent + 1:
            data = await preview_of(behind, judging, job.id)
            if data is not None:
                yield sent, data
                sent += 1


def _encoder(form: Common, behind: Backstage) -> Callable[[bytes], Any]:
    """A function that encodes an image file as base64 in a thread."""

    async def encode(data: bytes) -> str:
        limits = behind.studio.limits
        cost = await behind.threads.picture(answers.encoded_cost, form, data, limits)
        return await behind.threads.pixels(cost, answers.encoded, form, data, limits)

    return encode
