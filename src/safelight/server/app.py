"""Build the FastAPI application: the routes of three API families behind one stack of middleware."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Lifespan

from safelight.audit import AuditLog, audit_log
from safelight.errors import DatabaseError
from safelight.jobs.service import Service
from safelight.server import documents, errors_http, health, pages
from safelight.server.families import Family, error_responses
from safelight.server.feed import Feed
from safelight.server.keys import Keys
from safelight.server.late_studio import LateStudio
from safelight.server.limits import Limits
from safelight.server.metrics import Metrics
from safelight.server.middleware.access import Access
from safelight.server.middleware.bodies import Bodies
from safelight.server.middleware.disconnects import Disconnects
from safelight.server.middleware.observing import REQUEST_ID, Observing
from safelight.server.middleware.origins import Origins
from safelight.server.room import Seats
from safelight.server.routes import (
    gallery,
    heat,
    hub,
    jobs,
    live,
    loading,
    models,
    moderation,
    openai,
    policies,
    prompts,
    recall,
    sdapi,
    session,
    system,
    watching,
)
from safelight.server.sessions import Sessions
from safelight.server.state import Backstage
from safelight.server.threads import Threads, use_others
from safelight.settings import Settings
from safelight.studio import Studio
from safelight.ui.paths import PATH, STATIC, Scripts

ROUTERS = {
    Family.OURS: (
        health.router,
        jobs.router,
        live.router,
        moderation.router,
        heat.router,
        policies.router,
        loading.router,
        hub.router,  # before the routes whose path takes any model name
        models.router,
        gallery.router,
        system.router,
        watching.router,
        session.router,
        prompts.router,
        recall.router,
    ),
    Family.OPENAI: (openai.router,),
    Family.A1111: (sdapi.router,),
}
FETCHES, STREAMS = 8, 20
"""How many remote images are fetched at the same time, and how many job streams one owner may have open."""
SENT = ("Authorization", "X-API-Key", REQUEST_ID, "Idempotency-Key", "Last-Event-ID", "If-None-Match")
SHOWN = (REQUEST_ID, "RateLimit", "RateLimit-Policy", "Retry-After", "Location", "ETag")
"""Request headers that pages of ``cors_origins`` may send, and response headers that they may read."""


def create_app(service: Service, settings: Settings, *, loaded: Callable[[], None] = lambda: None) -> FastAPI:
    """Create the application.

    Args:
        service: An open service, whose database also has the tables of ``keys.SCHEMA``; the caller closes it.
        settings: The server's settings.
        loaded: Called when the web UI has been loaded, which is after startup.
    """
    audit, numbers, studio = audit_log(settings.home, settings.audit_bytes), Metrics(), LateStudio(loaded)
    app = FastAPI(
        title="Safelight",
        lifespan=_life(service, settings, audit, studio),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    numbers.watch(service)
    app.state.metrics = numbers
    errors_http.install(app)
    _guard(app, settings, numbers, audit)
    for family, routers in ROUTERS.items():
        for router in routers:
            app.include_router(router, responses=error_responses(family))
    documents.install(app)
    app.include_router(pages.router)
    if settings.studio:
        app.mount(STATIC, Scripts())
        app.mount(PATH, studio)
    return app


def _life(service: Service, settings: Settings, audit: AuditLog, studio: LateStudio) -> Lifespan[FastAPI]:
    """The lifespan that opens and closes the application's state; lifespans of routers run inside it."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        keys = Keys(service.engine)
        sessions = Sessions(service.engine, keys, service.clock.at)
        limits = Limits(settings, keys)
        fetches, streams = asyncio.Semaphore(FETCHES), Seats("streams", STREAMS)
        use_others()
        with closing(Threads()) as threads:
            async with Feed(service.ledger) as feed:
                app.state.backstage = Backstage(
                    service, feed, Studio(settings), keys, limits, audit, threads, fetches, streams, sessions
                )
                if settings.studio:
                    studio.begin()
                yield
                await studio.end()
            with suppress(DatabaseError):  # only the last minute's usage of keys without a quota is lost
                await threads.key(keys.write_down)

    return life


def _guard(app: FastAPI, settings: Settings, numbers: Metrics, audit: AuditLog) -> None:
    """Add the middleware; the one added last is the outermost."""
    app.add_middleware(Disconnects)
    app.add_middleware(Bodies, settings=settings)
    app.add_middleware(Access, settings=settings)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST", "PATCH", "DELETE"),
            allow_headers=SENT,
            expose_headers=SHOWN,
        )
    app.add_middleware(Origins, settings=settings)
    app.add_middleware(Observing, metrics=numbers, audit=audit)
