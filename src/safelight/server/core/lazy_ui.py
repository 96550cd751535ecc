"""The web UI, loaded in the background after startup: Gradio takes seconds to import."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from starlette.types import ASGIApp, Receive, Scope, Send

from safelight.errors import InternalError, ServerStartingError
from safelight.generation.solvers.registry import SAMPLERS
from safelight.logs import get_logger
from safelight.runtime.allocator import collection_paused
from safelight.server.core.exception_handlers import send_error


class LazyUi:
    """An ASGI application that serves the web UI; requests wait until it is loaded.

    Args:
        on_loaded: Called when the web UI has been loaded.
    """

    def __init__(self, on_loaded: Callable[[], None] = lambda: None) -> None:
        self._on_loaded = on_loaded
        self._loading: asyncio.Task[ASGIApp] | None = None

    def start(self) -> None:
        """Start loading the web UI."""
        # Gradio creates an event loop if none runs and leaves it open: asyncio.run gives it one.
        self._loading = asyncio.create_task(asyncio.to_thread(asyncio.run, _load_ui()))
        self._loading.add_done_callback(_log_failure)
        self._loading.add_done_callback(lambda _: self._on_loaded())

    async def stop(self) -> None:
        """Stop loading."""
        if self._loading is not None:
            self._loading.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._loading

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if self._loading is None:
            await send_error(ServerStartingError(), scope, receive, send)
            return
        try:
            app = await asyncio.shield(self._loading)
        except Exception:  # noqa: BLE001  logged when loading ended; every request gets the same error
            hint = "The server's log tells why."
            await send_error(
                InternalError("The studio's page cannot be loaded.", hint=hint), scope, receive, send
            )
            return
        await app(scope, receive, send)


async def _load_ui() -> ASGIApp:
    with collection_paused():
        from safelight.ui.mount import create_ui_app

    schedules = sorted({name for sampler in SAMPLERS.values() for name in sampler.schedules})
    return create_ui_app(list(SAMPLERS), schedules)


def _log_failure(loading: asyncio.Task[ASGIApp]) -> None:
    if not loading.cancelled() and (error := loading.exception()):
        get_logger(__name__).error("a defect", exc_info=error)
