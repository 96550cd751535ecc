"""What every route can use."""

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
    """The server's open things.

    Args:
        service: Database, queue, gallery, workers.
        feed: Events of jobs.
        studio: Judges pictures within this process; never draws here.
        keys: Who may use the server.
        limits: How much of it.
        audit: Who was turned away, and what was done that cannot be undone.
        threads: For what must not wait for everything else.
        fetches: How many pictures are fetched from elsewhere at the same time.
        streams: How many jobs each caller follows at the same time.
        sessions: Browsers that are signed in.
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
    """The open things of the application that a request came to."""
    found: Backstage = connection.app.state.backstage
    return found


Behind = Annotated[Backstage, Depends(backstage)]
