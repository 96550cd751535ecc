"""Following a job on its way: events as a stream or over a WebSocket, and previews."""

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
"""The code with which a WebSocket is closed when there is nothing more to be told."""
MOST = 2**53
"""The largest event id that JSON's readers keep exactly."""
After = Annotated[int, Query(ge=0, le=MOST, description="Only events after this one.")]


async def streaming(behind: Behind, who: Who) -> AsyncIterator[None]:
    """Count a stream for as long as it lasts.

    Raises:
        RateLimitError: The caller follows too many at once.
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
        int | None, Header(ge=0, le=MOST, description="Likewise; what browsers send when they connect again.")
    ] = None,
) -> AsyncIterator[Event]:
    """A job's events, those that were and those to come, until it has ended: state, progress and preview.

    Each has its kind as event and its id as id; its data is an Event as JSON. Comments keep the connection open.
    """
    async for event in events_of(behind, job, max(after, last_event_id or 0)):
        # FastAPI takes the annotation for the document, and from what is yielded also the name and the id.
        yield ServerSentEvent(data=event, event=event.kind, id=str(event.id))  # type: ignore[misc]


@router.get(
    "/{job_id}/preview",
    response_class=Response,
    operation_id="preview_job",
    summary="See the picture on its way",
    responses=errors(JobMissingError, PreviewMissingError) | {200: pictures("webp")[200]},
)
async def preview_job(job: TheJob, behind: Behind, judging: TheJudge) -> Response:
    """The newest preview of the picture that is being drawn, at most 256 pixels wide and high.

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
    """The same events as JSON; the caller may send {"action": "cancel"}, "finish" or "skip".

    After an event of kind preview comes its picture as a binary message, or it is in its data as ``image``.
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
    """Whether neither side has closed a WebSocket, nor the connection is gone."""
    return socket.client_state is socket.application_state is WebSocketState.CONNECTED


async def events_of(behind: Backstage, job: Job, after: int) -> AsyncGenerator[Event]:
    """A job's events after one of them until its last, whether it has ended already or not.

    Args:
        behind: The server's open things.
        job: The job.
        after: The last one that is known already; one that is yet to come counts as the newest there is.
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
    """The picture that an event tells of, where there is one that may be shown and is wanted."""
    if event.kind != "preview" or previews == "none":
        return None
    return await preview_of(behind, judging, event.job_id, "webp")


async def _send(socket: WebSocket, event: Event, image: bytes | None, previews: str) -> None:
    """Send an event; one of a preview only together with its picture."""
    body = event.model_dump(mode="json")
    if event.kind == "preview" and image is None:
        return
    if image is not None and previews == "base64":
        body["data"]["image"] = base64.b64encode(image).decode()
    await socket.send_json(body)
    if image is not None and previews == "binary":
        await socket.send_bytes(image)


async def _listen(socket: WebSocket, behind: Backstage, job: Job, talk: CancelScope) -> None:
    """Do what the caller says until they go; what cannot be followed gets an error, and the events go on."""
    who = caller(socket)
    while (message := await socket.receive())["type"] == "websocket.receive":
        try:
            behind.limits.request(who)
            await tell(behind, job.id, _signal_in(message), job.owner)
        except SafelightError as error:
            await socket.send_json({"error": error.to_dict()})
            if isinstance(error, LimitedError):  # no more is read, and the connection holds the rest back
                await asyncio.sleep(error.retry_after or 1)
    talk.cancel()


def _signal_in(message: Message) -> Signal:
    try:
        return Signal(json.loads(message.get("text") or "")["action"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BodyInvalidError('Only {"action": "cancel"}, "finish" and "skip" are understood.') from error
