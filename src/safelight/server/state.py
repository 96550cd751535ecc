"""The application's state: the open resources that every route can use."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from fastapi.requests import HTTPConnection

from safelight.audit import AuditLog
from safelight.jobs.service import Service
from safelight.server.feed import Feed
from safelight.server.keys import Keys
from safelight.server.limits import Limits
from safelight.server.room import Seats
from safelight.server.sessions import Sessions
from safelight.server.threads import Threads
from safelight.studio import Studio


@dataclass(frozen=True)
class Backstage:
    """The open resources of the application.

    Args:
        service: Database, queue, gallery and workers.
        feed: The stream of job events.
        studio: Loads classifiers and judges images in this process; never generates here.
        keys: API keys and quotas.
        limits: Rate limits.
        audit: The audit log of refusals and irreversible actions.
        threads: Thread pools for blocking calls.
        fetches: Limits the number of concurrent fetches of remote images.
        streams: Limits the number of job streams of each owner.
        sessions: Sessions of browsers.
    """

    service: Service
    feed: Feed
    studio: Studio
    keys: Keys
    limits: Limits
    audit: AuditLog
    threads: Threads
    fetches: asyncio.Semaphore
    streams: Seats
    sessions: Sessions


def backstage(connection: HTTPConnection) -> Backstage:
    """The state of the application that handles a request."""
    found: Backstage = connection.app.state.backstage
    return found


Behind = Annotated[Backstage, Depends(backstage)]
