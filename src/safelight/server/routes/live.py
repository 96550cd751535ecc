"""``/v1/live``: all events of a user's jobs, over one WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Annotated

from anyio import CancelScope, create_task_group
from fastapi import APIRouter, Depends, FastAPI, WebSocket, WebSocketDisconnect
from fastapi.requests import HTTPConnection
from pydantic import StringConstraints, ValidationError
from starlette.types import Message

from safelight.errors import BodyInvalidError, DatabaseError, LimitedError, SafelightError
from safelight.jobs.job import Shape, Signal
from safelight.server.auth import Caller, Who, caller
from safelight.server.compat.previews import TheJudge
from safelight.server.errors_http import FAILED
from safelight.server.inbox import Inbox, message
from safelight.server.live import PACE, Live
from safelight.server.routes.following import COUNTED, is_open
from safelight.server.state import Backstage, Behind
from safelight.server.submitting import tell

UNREAD = 'Only {"action": "cancel", "id": a job\'s id}, "finish" and "skip" are understood.'


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Live]]:
    """Keep the broadcaster for as long as the server runs."""
    async with Live(lambda: app.state.backstage) as live:
        yield {"live": live}


router = APIRouter(lifespan=lifespan)


def live_of(connection: HTTPConnection) -> Live:
    """The broadcaster of the server that handles a request."""
    found: Live = connection.state.live
    return found


class Order(Shape):
    """A client's message."""

    action: Signal
    id: Annotated[str, StringConstraints(pattern="^[0-9a-f]{27}$")]


@router.websocket("/v1/live", dependencies=COUNTED)
async def live_socket(
    socket: WebSocket, behind: Behind, who: Who, judge: TheJudge, live: Annotated[Live, Depends(live_of)]
) -> None:
    """The user's jobs, then all events of them; administrators see those of all users.

    The client may send {"action": "cancel", "id": a job's id}, "finish" and "skip". docs/live.md has the messages.
    """
    await socket.accept()
    async with create_task_group() as group:
        group.start_soon(_listen, socket, behind, group.cancel_scope)
        with suppress(WebSocketDisconnect):
            try:
                async with live.joined(who.scope, judge) as inbox:
                    await talk(socket, live, inbox)
            except DatabaseError as error:
                await socket.send_text(message("error", error=error.to_dict()))
        group.cancel_scope.cancel()
    if is_open(socket):
        await socket.close(FAILED)


async def talk(socket: WebSocket, live: Live, inbox: Inbox) -> None:
    """Send a snapshot of all jobs, then updates, as fast as the client reads.

    Raises:
        DatabaseError: The jobs cannot be read.
    """
    while True:
        if inbox.lost:
            await socket.send_text(await live.hello(inbox))
        for text in await inbox.news():
            await socket.send_text(text)
        await asyncio.sleep(PACE)


async def _listen(socket: WebSocket, behind: Backstage, talk: CancelScope) -> None:
    """Apply the client's messages until it disconnects; an invalid message gets an error, and the updates go on."""
    with suppress(WebSocketDisconnect):
        while (given := await socket.receive())["type"] == "websocket.receive":
            try:
                await _follow(behind, caller(socket), given)
            except SafelightError as error:
                await socket.send_text(message("error", error=error.to_dict()))
                if isinstance(
                    error, LimitedError
                ):  # nothing is read meanwhile: backpressure on the connection
                    await asyncio.sleep(error.retry_after or 1)
    talk.cancel()


async def _follow(behind: Backstage, who: Caller, given: Message) -> None:
    behind.limits.request(who)
    order = _order_in(given)
    await tell(behind, order.id, order.action, who.scope)


def _order_in(given: Message) -> Order:
    try:
        return Order.model_validate_json(given.get("text") or "")
    except ValidationError as error:
        raise BodyInvalidError(UNREAD) from error
