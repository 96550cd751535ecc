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

from safelight.errors import BodyInvalidError, DatabaseError, LimitError, SafelightError
from safelight.jobs.job import FrozenModel, Signal
from safelight.server.api.native.job_events import COUNTED_STREAM, is_open
from safelight.server.core.app_state import AppState, CurrentAppState
from safelight.server.core.events.broadcaster import UPDATE_INTERVAL, Broadcaster
from safelight.server.core.events.coalescing_queue import CoalescingQueue, encode_message
from safelight.server.core.events.previews import CurrentModerationService
from safelight.server.core.exception_handlers import WS_INTERNAL_ERROR
from safelight.server.core.submission import send_signal
from safelight.server.security.dependencies import CurrentPrincipal, Principal, current_principal

MESSAGE_ERROR = 'Only {"action": "cancel", "id": a job\'s id}, "finish" and "skip" are understood.'


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Broadcaster]]:
    """Keep the broadcaster for as long as the server runs."""
    async with Broadcaster(lambda: app.state.safelight) as live:
        yield {"broadcaster": live}


router = APIRouter(lifespan=lifespan)


def broadcaster_of(connection: HTTPConnection) -> Broadcaster:
    """The broadcaster of the server that handles a request."""
    found: Broadcaster = connection.state.broadcaster
    return found


CurrentBroadcaster = Annotated[Broadcaster, Depends(broadcaster_of)]


class SignalMessage(FrozenModel):
    """A client's message."""

    action: Signal
    id: Annotated[str, StringConstraints(pattern="^[0-9a-f]{27}$")]


@router.websocket("/v1/live", dependencies=COUNTED_STREAM)
async def live_socket(
    socket: WebSocket,
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    moderation_service: CurrentModerationService,
    broadcaster: CurrentBroadcaster,
) -> None:
    """The user's jobs, then all events of them; administrators see those of all users.

    The client may send {"action": "cancel", "id": a job's id}, "finish" and "skip". docs/live.md has the messages.
    """
    await socket.accept()
    async with create_task_group() as group:
        group.start_soon(_receive_signals, socket, app_state, group.cancel_scope)
        with suppress(WebSocketDisconnect):
            try:
                async with broadcaster.subscribed(principal.scope, moderation_service) as messages:
                    await send_updates(socket, broadcaster, messages)
            except DatabaseError as error:
                await socket.send_text(encode_message("error", error=error.to_dict()))
        group.cancel_scope.cancel()
    if is_open(socket):
        await socket.close(WS_INTERNAL_ERROR)


async def send_updates(socket: WebSocket, broadcaster: Broadcaster, messages: CoalescingQueue) -> None:
    """Send a snapshot of all jobs, then updates, as fast as the client reads.

    Raises:
        DatabaseError: The jobs cannot be read.
    """
    while True:
        if messages.overflowed:
            await socket.send_text(await broadcaster.snapshot(messages))
        for text in await messages.get_all():
            await socket.send_text(text)
        await asyncio.sleep(UPDATE_INTERVAL)


async def _receive_signals(socket: WebSocket, app_state: AppState, scope: CancelScope) -> None:
    """Apply the client's messages until it disconnects; an invalid message gets an error, and the updates go on."""
    with suppress(WebSocketDisconnect):
        while (given := await socket.receive())["type"] == "websocket.receive":
            try:
                await _apply_signal(app_state, current_principal(socket), given)
            except SafelightError as error:
                await socket.send_text(encode_message("error", error=error.to_dict()))
                if isinstance(error, LimitError):  # nothing is read meanwhile: backpressure on the connection
                    await asyncio.sleep(error.retry_after or 1)
    scope.cancel()


async def _apply_signal(app_state: AppState, principal: Principal, message_in: Message) -> None:
    app_state.rate_limiter.count_request(principal)
    order = _parse_message(message_in)
    await send_signal(app_state, order.id, order.action, principal.scope)


def _parse_message(raw: Message) -> SignalMessage:
    try:
        return SignalMessage.model_validate_json(raw.get("text") or "")
    except ValidationError as error:
        raise BodyInvalidError(MESSAGE_ERROR) from error
