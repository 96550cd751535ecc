"""Events of a running job, as server-sent events or over a WebSocket, and its previews."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Annotated, Literal

from anyio import CancelScope, create_task_group
from fastapi import APIRouter, Depends, Header, Query, Response, WebSocket, WebSocketDisconnect
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.types import Message
from starlette.websockets import WebSocketState

from safelight.errors import (
    BodyInvalidError,
    DatabaseError,
    InternalError,
    JobMissingError,
    LimitError,
    PreviewMissingError,
    SafelightError,
)
from safelight.jobs.job import Event, Job, Signal
from safelight.server.api.native.common import RequestedJob
from safelight.server.api.native.openapi_responses import error_responses, image_responses
from safelight.server.core.app_state import AppState, CurrentAppState
from safelight.server.core.events.previews import CurrentModerationService, load_preview
from safelight.server.core.exception_handlers import WS_INTERNAL_ERROR
from safelight.server.core.moderation_service import ModerationService
from safelight.server.core.submission import send_signal
from safelight.server.security.dependencies import CurrentPrincipal, Role, current_principal

router = APIRouter()

CLOSE_NORMAL = 1000
"""The code that closes a WebSocket after the last event."""
MAX_EVENT_ID = 2**53
"""The largest event id that JSON parsers represent exactly."""
After = Annotated[int, Query(ge=0, le=MAX_EVENT_ID, description="Only events after this one.")]


async def count_stream(app_state: CurrentAppState, principal: CurrentPrincipal) -> AsyncIterator[None]:
    """Count a stream against the principal's limit while it lasts.

    Raises:
        RateLimitError: The principal has too many streams open.
    """
    if principal.role is Role.ADMIN:
        yield
        return
    with app_state.stream_quota.acquired(principal.owner):
        yield


COUNTED_STREAM = [Depends(count_stream)]


@router.get(
    "/{job_id}/events",
    response_class=EventSourceResponse,
    operation_id="follow_job",
    summary="Follow a job",
    responses=error_responses(JobMissingError),
    dependencies=COUNTED_STREAM,
)
async def follow_job(
    job: RequestedJob,
    app_state: CurrentAppState,
    after: After = 0,
    last_event_id: Annotated[
        int | None,
        Header(ge=0, le=MAX_EVENT_ID, description="Likewise; browsers send it when they reconnect."),
    ] = None,
) -> AsyncIterator[Event]:
    """A job's events, past and future, until the job has ended: state, progress and preview.

    Each event has its kind as name and its id as id; its data is an Event as JSON. Comments keep the connection open.
    """
    async for event in events_of(app_state, job, max(after, last_event_id or 0)):
        # FastAPI takes the schema from the annotation, and the name and the id from what is yielded.
        yield ServerSentEvent(data=event, event=event.kind, id=str(event.id))  # type: ignore[misc]


@router.get(
    "/{job_id}/preview",
    response_class=Response,
    operation_id="preview_job",
    summary="Get the preview of a picture in progress",
    responses=error_responses(JobMissingError, PreviewMissingError) | {200: image_responses("webp")[200]},
)
async def preview_job(
    job: RequestedJob, app_state: CurrentAppState, moderation_service: CurrentModerationService
) -> Response:
    """The newest preview of the picture in progress, at most 256 pixels wide and high.

    There is none while the policy blocks it.
    """
    data = await load_preview(app_state, moderation_service, job.id, "webp")
    if data is None:
        raise PreviewMissingError
    return Response(data, media_type="image/webp", headers={"Cache-Control": "no-store"})


@router.websocket("/{job_id}/ws", dependencies=COUNTED_STREAM)
async def job_socket(
    socket: WebSocket,
    job: RequestedJob,
    app_state: CurrentAppState,
    moderation_service: CurrentModerationService,
    after: After = 0,
    previews: Literal["binary", "base64", "none"] = "binary",
) -> None:
    """The same events as JSON; the client may send {"action": "cancel"}, "finish" or "skip".

    The picture of a preview event follows it as a binary message, or is in the event's data as ``image``.
    """
    await socket.accept()
    async with create_task_group() as group:
        group.start_soon(_receive_signals, socket, app_state, job, group.cancel_scope)
        code = WS_INTERNAL_ERROR
        with suppress(WebSocketDisconnect):
            try:
                async with aclosing(events_of(app_state, job, after)) as events:
                    async for event in events:
                        await _send_event(
                            socket,
                            event,
                            await _preview_image(app_state, moderation_service, event, previews),
                            previews,
                        )
                code = CLOSE_NORMAL
            except (DatabaseError, InternalError) as error:
                await socket.send_json({"error": error.to_dict()})
        group.cancel_scope.cancel()
    if is_open(socket):
        await socket.close(code)


def is_open(socket: WebSocket) -> bool:
    """Whether a WebSocket is connected, and neither side has closed it."""
    return socket.client_state is socket.application_state is WebSocketState.CONNECTED


async def events_of(app_state: AppState, job: Job, after: int) -> AsyncGenerator[Event]:
    """A job's events after a given one until its last, whether or not the job has ended.

    Args:
        app_state: The server's state.
        job: The job.
        after: Id of the last event that is known; an id that does not exist yet counts as the newest one.
    """
    store = app_state.service.store
    after = min(after, await asyncio.to_thread(store.last_event))
    if (await asyncio.to_thread(store.get, job.id)).state.final:
        async for event in app_state.events.history(job.id, after):
            yield event
        return
    async for event in app_state.events.events(job.id, after):
        yield event


async def _preview_image(
    app_state: AppState, moderation_service: ModerationService, event: Event, previews: str
) -> bytes | None:
    """The image of a preview event, where one may be shown and is wanted."""
    if event.kind != "preview" or previews == "none":
        return None
    return await load_preview(app_state, moderation_service, event.job_id, "webp")


async def _send_event(socket: WebSocket, event: Event, image: bytes | None, previews: str) -> None:
    """Send an event; a preview event only together with its image."""
    body = event.model_dump(mode="json")
    if event.kind == "preview" and image is None:
        return
    if image is not None and previews == "base64":
        body["data"]["image"] = base64.b64encode(image).decode()
    await socket.send_json(body)
    if image is not None and previews == "binary":
        await socket.send_bytes(image)


async def _receive_signals(socket: WebSocket, app_state: AppState, job: Job, scope: CancelScope) -> None:
    """Apply the client's messages until it disconnects; an invalid message gets an error, and the events go on."""
    who = current_principal(socket)
    while (message := await socket.receive())["type"] == "websocket.receive":
        try:
            app_state.rate_limiter.count_request(who)
            await send_signal(app_state, job.id, _parse_signal(message), job.owner)
        except SafelightError as error:
            await socket.send_json({"error": error.to_dict()})
            if isinstance(error, LimitError):  # nothing is read meanwhile: backpressure on the connection
                await asyncio.sleep(error.retry_after or 1)
    scope.cancel()


def _parse_signal(message: Message) -> Signal:
    try:
        return Signal(json.loads(message.get("text") or "")["action"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BodyInvalidError('Only {"action": "cancel"}, "finish" and "skip" are understood.') from error
