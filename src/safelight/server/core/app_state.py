"""The application's state: the open resources that every route can use."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from fastapi.requests import HTTPConnection

from safelight.audit_log import AuditLog
from safelight.gallery.thumbnails import ThumbnailCache
from safelight.jobs.queue_service import QueueService
from safelight.models.adapters.catalogue import AdapterCatalogue
from safelight.models.hub.pull_queue import PullQueue
from safelight.server.core.events.event_stream import EventStream
from safelight.server.core.executors.thread_pools import ThreadPools
from safelight.server.security.keys import KeyStore
from safelight.server.security.quotas import ConcurrencyQuota
from safelight.server.security.rate_limits import RateLimiter
from safelight.server.security.sessions import SessionStore
from safelight.stored_settings.adapter_favourites import AdapterFavourites
from safelight.stored_settings.preferences import PreferenceStore
from safelight.stored_settings.runtime import RuntimeSettings
from safelight.studio import Studio


@dataclass(frozen=True)
class AppState:
    """The open resources of the application.

    Args:
        service: Database, queue, gallery and workers.
        events: The stream of job events.
        studio: Loads classifiers and judges images in this process; never generates here.
        keys: API keys and quotas.
        rate_limiter: Rate limits.
        audit_log: The audit log of refusals and irreversible actions.
        threads: Thread pools for blocking calls.
        fetch_slots: Limits the number of concurrent fetches of remote images.
        stream_quota: Limits the number of job streams of each owner.
        sessions: Sessions of browsers.
        pulls: Downloads of models.
        runtime_settings: Changes of settings while the server runs.
        preferences: The preferences of users.
        adapters: What LoRAs and textual inversions there are.
        adapter_favourites: Which of them users have marked.
        adapter_thumbnails: Small copies of their previews.
    """

    service: QueueService
    events: EventStream
    studio: Studio
    keys: KeyStore
    rate_limiter: RateLimiter
    audit_log: AuditLog
    threads: ThreadPools
    fetch_slots: asyncio.Semaphore
    stream_quota: ConcurrencyQuota
    sessions: SessionStore
    pulls: PullQueue
    runtime_settings: RuntimeSettings
    preferences: PreferenceStore
    adapters: AdapterCatalogue
    adapter_favourites: AdapterFavourites
    adapter_thumbnails: ThumbnailCache


def get_app_state(connection: HTTPConnection) -> AppState:
    """The state of the application that handles a request."""
    found: AppState = connection.app.state.safelight
    return found


CurrentAppState = Annotated[AppState, Depends(get_app_state)]
