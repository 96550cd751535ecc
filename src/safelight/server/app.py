"""Build the FastAPI application: the routes of every API family behind one stack of middleware."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from functools import partial

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Lifespan

from safelight.audit_log import AuditLog, open_audit_log
from safelight.errors import DatabaseError
from safelight.gallery.thumbnails import ThumbnailCache
from safelight.jobs.job import JobState
from safelight.jobs.queue_service import QueueService
from safelight.models.adapters.catalogue import AdapterCatalogue
from safelight.models.background_digests import BackgroundDigests
from safelight.models.hub.pull_queue import PullQueue, QueuedPull
from safelight.server.api import openapi
from safelight.server.core import exception_handlers, static_pages
from safelight.server.core.api_families import API_FAMILIES
from safelight.server.core.app_state import AppState
from safelight.server.core.events.event_stream import EventStream
from safelight.server.core.executors.thread_pools import ThreadPools, set_default_executor
from safelight.server.core.lazy_ui import LazyUi
from safelight.server.core.monitoring.metrics import Metrics
from safelight.server.middleware.authentication import AuthenticationMiddleware
from safelight.server.middleware.body_limits import BodyLimitMiddleware
from safelight.server.middleware.disconnects import DisconnectMiddleware
from safelight.server.middleware.host_origin import HostOriginMiddleware
from safelight.server.middleware.telemetry import REQUEST_ID, TelemetryMiddleware
from safelight.server.security.keys import KeyStore
from safelight.server.security.quotas import ConcurrencyQuota
from safelight.server.security.rate_limits import RateLimiter
from safelight.server.security.sessions import SessionStore
from safelight.settings import Settings
from safelight.stored_settings.adapter_favourites import AdapterFavourites
from safelight.stored_settings.preferences import PreferenceStore
from safelight.stored_settings.runtime import RuntimeSettings
from safelight.studio import Studio
from safelight.ui.paths import STATIC_PATH, UI_PATH, UiStaticFiles

MAX_FETCHES, MAX_STREAMS = 8, 20
"""How many remote images are fetched at the same time, and how many job streams one owner may have open."""
ALLOWED_HEADERS = (
    "Authorization",
    "X-API-Key",
    REQUEST_ID,
    "Idempotency-Key",
    "Last-Event-ID",
    "If-None-Match",
)
EXPOSED_HEADERS = (REQUEST_ID, "RateLimit", "RateLimit-Policy", "Retry-After", "Location", "ETag")
"""Request headers that pages of ``cors_origins`` may send, and response headers that they may read."""


def create_app(
    service: QueueService, settings: Settings, *, on_ui_loaded: Callable[[], None] = lambda: None
) -> FastAPI:
    """Create the application.

    Args:
        service: An open service, whose database also has the tables of ``keys.SCHEMA``; the caller closes it.
        settings: The server's settings.
        on_ui_loaded: Called when the web UI has been loaded, which is after startup.
    """
    audit, numbers, studio = (
        open_audit_log(settings.home, settings.audit_bytes),
        Metrics(),
        LazyUi(on_ui_loaded),
    )
    app = FastAPI(
        title="Safelight",
        lifespan=_lifespan(service, settings, audit, studio),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    numbers.register_service(service)
    app.state.metrics = numbers
    exception_handlers.install(app)
    _add_middleware(app, settings, numbers, audit)
    for family in API_FAMILIES.values():
        for router in family.routers:
            app.include_router(router, responses=family.error_responses)
    openapi.install(app)
    app.include_router(static_pages.router)
    if settings.web_ui:
        app.mount(STATIC_PATH, UiStaticFiles())
        app.mount(UI_PATH, studio)
    return app


def _lifespan(
    service: QueueService, settings: Settings, audit_log: AuditLog, ui: LazyUi
) -> Lifespan[FastAPI]:
    """The lifespan that opens and closes the application's state; lifespans of routers run inside it."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        keys = KeyStore(service.engine)
        sessions = SessionStore(service.engine, keys, service.clock.at)
        rate_limiter = RateLimiter(settings, keys)
        fetch_slots, stream_quota = asyncio.Semaphore(MAX_FETCHES), ConcurrencyQuota("streams", MAX_STREAMS)
        set_default_executor()
        pulls = PullQueue(settings, partial(_write_audit, audit_log))
        with service.follow_settings(), closing(ThreadPools()) as threads:
            async with EventStream(service.store) as feed:
                app.state.safelight = AppState(
                    service,
                    feed,
                    Studio(settings),
                    keys,
                    rate_limiter,
                    audit_log,
                    threads,
                    fetch_slots,
                    stream_quota,
                    sessions,
                    pulls,
                    RuntimeSettings(service.engine, settings),
                    PreferenceStore(service.engine),
                    AdapterCatalogue(settings.cache_folder),
                    AdapterFavourites(service.engine),
                    ThumbnailCache(settings.cache_folder / "adapter_previews"),
                )
                if settings.web_ui:
                    ui.start()
                digests = BackgroundDigests(settings, partial(_is_generating, service))
                digests.start()
                try:
                    yield
                finally:
                    await asyncio.to_thread(digests.stop)
                    await asyncio.to_thread(pulls.close)
                await ui.stop()
            with suppress(DatabaseError):  # only the last minute's usage of keys without a quota is lost
                await threads.run_auth(keys.flush)

    return life


def _write_audit(audit_log: AuditLog, pull: QueuedPull) -> None:
    audit_log.write("model.pulled", reference=pull.plan.reference, state=pull.state)


def _is_generating(service: QueueService) -> bool:
    """Whether any worker runs a job; also where the database does not say."""
    try:
        return service.store.count_by_state().get(JobState.RUNNING, 0) > 0
    except DatabaseError:
        return True


def _add_middleware(app: FastAPI, settings: Settings, metrics: Metrics, audit_log: AuditLog) -> None:
    """Add the middleware; the one added last is the outermost."""
    app.add_middleware(DisconnectMiddleware)
    app.add_middleware(BodyLimitMiddleware, settings=settings)
    app.add_middleware(AuthenticationMiddleware, settings=settings)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST", "PATCH", "DELETE"),
            allow_headers=ALLOWED_HEADERS,
            expose_headers=EXPOSED_HEADERS,
        )
    app.add_middleware(HostOriginMiddleware, settings=settings)
    app.add_middleware(TelemetryMiddleware, metrics=metrics, audit=audit_log)
