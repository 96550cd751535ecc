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
    LimitedError,
    PreviewMissingError,
    SafelightError,
)
from safelight.jobs.job import Event, Job, Signal
from safelight.server.auth import Role, Who, caller
from safelight.server.compat.previews import TheJudge, preview_of
from safelight.server.errors_http import FAILED
from safelight.server.judging import Judge
from safelight.server.routes.common import TheJob
from safelight.server.routes.describing import errors, pictures
from safelight.server.state import Backstage, Behind
from safelight.server.submitting import tell

router = APIRouter()

DONE = 1000
"""The code that closes a WebSocket after the last event."""
MOST = 2**53
"""The largest event id that JSON parsers represent exactly."""
After = Annotated[int, Query(ge=0, le=MOST, description="Only events after this one.")]


async def streaming(behind: Behind, who: Who) -> AsyncIterator[None]:
    """Count a stream against the principal's limit while it lasts.

    Raises:
        RateLimitError: The principal has too many streams open.
    """
    if who.role is Role.ADMIN:
        yield
        return
    with behind.streams.taken(who.owner):
        yield


COUNTED = [Depends(streaming)]


@router.get(
    "/{job_id}/events",
    response_class=EventSourceResponse,
    operation_id="follow_job",
    summary="Follow a job",
    responses=errors(JobMissingError),
    dependencies=COUNTED,
)
async def follow_job(
    job: TheJob,
    behind: Behind,
    after: After = 0,
    last_event_id: Annotated[
        int | None, Header(ge=0, le=MOST, description="Likewise; browsers send it when they reconnect.")
    ] = None,
) -> AsyncIterator[Event]:
    """A job's events, past and future, until the job has ended: state, progress and preview.

    Each event has its kind as name and its id as id; its data is an Event as JSON. Comments keep the connection open.
    """
    async for event in events_of(behind, job, max(after, last_event_id or 0)):
        # FastAPI takes the schema from the annotation, and the name and the id from what is yielded.
        yield ServerSentEvent(data=event, event=event.kind, id=str(event.id))  # type: ignore[misc]


@router.get(
    "/{job_id}/preview",
    response_class=Response,
    operation_id="preview_job",
    summary="Get the preview of a picture in progress",
    responses=errors(JobMissingError, PreviewMissingError) | {200: pictures("webp")[200]},
)
async def preview_job(job: TheJob, behind: Behind, judging: TheJudge) -> Response:
    """The newest preview of the picture in progress, at most 256 pixels wide and high.

    There is none while the policy blocks it.
    """
    data = await preview_of(behind, judging, job.id, "webp")
    if data is None:
        raise PreviewMissingError
    return Response(data, media_type="image/webp", headers={"Cache-Control": "no-store"})


@router.websocket("/{job_id}/ws", dependencies=COUNTED)
async def job_socket(
    socket: WebSocket,
    job: TheJob,
    behind: Behind,
    judging: TheJudge,
    after: After = 0,
    previews: Literal["binary", "base64", "none"] = "binary",
) -> None:
    """The same events as JSON; the client may send {"action": "cancel"}, "finish" or "skip".

    The picture of a preview event follows it as a binary message, or is in the event's data as ``image``.
    """
    await socket.accept()
    async with create_task_group() as group:
        group.start_soon(_listen, socket, behind, job, group.cancel_scope)
        code = FAILED
        with suppress(WebSocketDisconnect):
            try:
                async with aclosing(events_of(behind, job, after)) as events:
                    async for event in events:
                        await _send(socket, event, await _image(behind, judging, event, previews), previews)
                code = DONE
            except (DatabaseError, InternalError) as error:
                await socket.send_json({"error": error.to_dict()})
        group.cancel_scope.cancel()
    if is_open(socket):
        await socket.close(code)


def is_open(socket: WebSocket) -> bool:
    """Whether a WebSocket is connected, and neither side has closed it."""
    return socket.client_state is socket.application_state is WebSocketState.CONNECTED


async def events_of(behind: Backstage, job: Job, after: int) -> AsyncGenerator[Event]:
    """A job's events after a given one until its last, whether or not the job has ended.

    Args:
        behind: The server's state.
        job: The job.
        after: Id of the last event that is known; an id that does not exist yet counts as the newest one.
    """
    ledger = behind.service.ledger
    after = min(after, await asyncio.to_thread(ledger.last_event))
    if (await asyncio.to_thread(ledger.get, job.id)).state.final:
        async for event in behind.feed.past(job.id, after):
            yield event
        return
    async for event in behind.feed.events(job.id, after):
        yield event


async def _image(behind: Backstage, judging: Judge, event: Event, previews: str) -> bytes | None:
    """The image of a preview event, where one may be shown and is wanted."""
    if event.kind != "preview" or previews == "none":
        return None
    return await preview_of(behind, judging, event.job_id, "webp")


async def _send(socket: WebSocket, event: Event, image: bytes | None, previews: str) -> None:
    """Send an event; a preview event only together with its image."""
    body = event.model_dump(mode="json")
    if event.kind == "preview" and image is None:
        return
    if image is not None and previews == "base64":
        body["data"]["image"] = base64.b64encode(image).decode()
    await socket.send_json(body)
    if image is not None and previews == "binary":
        await socket.send_bytes(image)


async def _listen(socket: WebSocket, behind: Backstage, job: Job, talk: CancelScope) -> None:
    """Apply the client's messages until it disconnects; an invalid message gets an error, and the events go on."""
    who = caller(socket)
    while (message := await socket.receive())["type"] == "websocket.receive":
        try:
            behind.limits.request(who)
            await tell(behind, job.id, _signal_in(message), job.owner)
        except SafelightError as error:
            await socket.send_json({"error": error.to_dict()})
            if isinstance(error, LimitedError):  # nothing is read meanwhile: backpressure on the connection
                await asyncio.sleep(error.retry_after or 1)
    talk.cancel()


def _signal_in(message: Message) -> Signal:
    try:
        return Signal(json.loads(message.get("text") or "")["action"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BodyInvalidError('Only {"action": "cancel"}, "finish" and "skip" are understood.') from error
