"""``/v1/live``: everything that happens to a caller's jobs, over one WebSocket."""

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
    """What tells listeners, for as long as the server runs."""
    async with Live(lambda: app.state.backstage) as live:
        yield {"live": live}


router = APIRouter(lifespan=lifespan)


def live_of(connection: HTTPConnection) -> Live:
    """What tells listeners of jobs."""
    found: Live = connection.state.live
    return found


class Order(Shape):
    """What a listener says."""

    action: Signal
    id: Annotated[str, StringConstraints(pattern="^[0-9a-f]{27}$")]


@router.websocket("/v1/live", dependencies=COUNTED)
async def live_socket(
    socket: WebSocket, behind: Behind, who: Who, judge: TheJudge, live: Annotated[Live, Depends(live_of)]
) -> None:
    """The caller's jobs as they are, then all that happens to them; administrators see everybody's.

    The caller may send {"action": "cancel", "id": a job's id}, "finish" and "skip". docs/live.md has the messages.
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
    """Tell a listener everything, then what is new, as fast as they read.

    Raises:
        DatabaseError: That cannot be known.
    """
    while True:
        if inbox.lost:
            await socket.send_text(await live.hello(inbox))
        for text in await inbox.news():
            await socket.send_text(text)
        await asyncio.sleep(PACE)


async def _listen(socket: WebSocket, behind: Backstage, talk: CancelScope) -> None:
    """Do what the caller says until they go; what cannot be followed gets an error, and the talk goes on."""
    with suppress(WebSocketDisconnect):
        while (given := await socket.receive())["type"] == "websocket.receive":
            try:
                await _follow(behind, caller(socket), given)
            except SafelightError as error:
                await socket.send_text(message("error", error=error.to_dict()))
                if isinstance(error, LimitedError):  # no more is read, and the connection holds the rest back
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
