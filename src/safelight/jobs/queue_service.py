"""What front doors and workers share: the database opened, the ledger, the gallery, the list of workers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, Engine, delete, select

from safelight.database import Schema, blobs, migrate, open_database, reading, writing
from safelight.database.coordination import now
from safelight.database.notifications import Listener, listen
from safelight.database.upsert import upsert
from safelight.expiry_clock import ExpiryClock
from safelight.gallery import Gallery
from safelight.gallery import tables as gallery_tables
from safelight.jobs.channels import Channel
from safelight.jobs.queue import tables
from safelight.jobs.queue.admission import QueueLimits
from safelight.jobs.queue.commands import ResidencyCommand, give, newer, newest
from safelight.jobs.queue.eta import LOST_AFTER
from safelight.jobs.queue.store import JobStore
from safelight.jobs.queue.tables import workers
from safelight.settings import Settings

SCHEMAS = (blobs.SCHEMA, gallery_tables.SCHEMA, tables.SCHEMA)
TEXTS = ("checkpoints", "last_error")
"""What of a worker's description is written down as JSON."""
FORGOTTEN_AFTER = timedelta(days=1)
"""Time after which a silent worker is no longer listed."""


def prepare(settings: Settings, *others: Schema) -> None:
    """Create or update all tables.

    Args:
        settings: With the database.
        others: What other packages keep there.

    Raises:
        DatabaseError: It cannot be opened or changed, or is a newer Safelight's.
    """
    engine = open_database(settings)
    try:
        migrate(engine, [*SCHEMAS, *others])
    finally:
        engine.dispose()


@dataclass(frozen=True)
class QueueService:
    """An open database with the queue and the gallery in it.

    Args:
        settings: Everything that can be set.
        engine: The database.
        store: The book of jobs.
        gallery: What was made.
        clock: What is too old, is so by this clock.
    """

    settings: Settings
    engine: Engine
    store: JobStore
    gallery: Gallery
    clock: ExpiryClock

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the database, whose tables have been made by ``prepare``."""
        engine = open_database(settings)
        limits = QueueLimits(
            settings.queue_capacity, settings.waiting_per_owner, settings.waiting_bytes_per_owner
        )
        ledger = JobStore(
            engine,
            retention=settings.job_retention,
            max_attempts=settings.max_attempts,
            limits=limits,
        )
        with reading(engine) as connection:
            clock = ExpiryClock(now(connection))
        return cls(settings, engine, ledger, Gallery(engine, settings.home), clock)

    def listen(self, *channels: Channel) -> Listener:
        """A listener for changes that other processes make; whoever asked for it closes it."""
        return listen(self.engine, *channels)

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection to read with."""
        return reading(self.engine)

    def now(self) -> datetime:
        """The time by the clock that all hosts share.

        Raises:
            DatabaseError: It cannot be read.
        """
        with self.reading() as connection:
            return now(connection)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def register_worker(self, name: str, description: Mapping[str, Any]) -> None:
        """Note that a worker lives, and how it is."""
        values = {**description, **{field: json.dumps(description.get(field)) for field in TEXTS}}
        with writing(self.engine) as connection:
            upsert(connection, workers, {"name": name}, {**values, "seen": now(connection)})

    def forget_worker(self, name: str) -> None:
        """A worker has left."""
        with writing(self.engine) as connection:
            connection.execute(delete(workers).where(workers.c.name == name))

    def load(self, checkpoint: str) -> None:
        """Tell all workers to load a checkpoint, each when no job is on its way there."""
        with writing(self.engine) as connection:
            give(connection, checkpoint, load=True)

    def unload(self, checkpoint: str | None = None) -> None:
        """Tell all workers to free the memory of a checkpoint, or of all: at once, or when no job is using it."""
        with writing(self.engine) as connection:
            give(connection, checkpoint, load=False)

    def orders(self, after: int) -> list[ResidencyCommand]:
        """What workers were told since an order, and still counts, in this order."""
        with self.reading() as connection:
            return newer(connection, after)

    def last_order(self) -> int:
        """The number of what workers were told last; 0 for nothing yet."""
        with self.reading() as connection:
            return newest(connection)

    def clean(self) -> None:
        """Delete what has expired or was left by a crash: jobs, inputs, entries and files of the gallery.

        Raises:
            DatabaseError, OutputError: It was not all deleted; the rest is the next time.
        """
        expiry = self.clock.at(self.now())
        self.store.forget(expiry)
        with writing(self.engine) as connection:
            blobs.delete_unreferenced(
                connection, select(tables.job_blobs.c.digest), before=expiry - timedelta(hours=1)
            )
            connection.execute(delete(workers).where(~_heard_within(connection, FORGOTTEN_AFTER)))
        if self.settings.gallery_retention:
            self.gallery.expire(expiry - timedelta(seconds=self.settings.gallery_retention))
        self.gallery.repair(now=expiry.timestamp())

    def workers(self) -> list[dict[str, Any]]:
        """The workers that have been heard of lately."""
        with self.reading() as connection:
            recent = (
                select(workers)
                .where(_heard_within(connection, timedelta(seconds=LOST_AFTER)))
                .order_by(workers.c.name)
            )
            rows = connection.execute(recent).mappings().all()
        return [{**row, **{field: json.loads(row[field]) for field in TEXTS}} for row in rows]


def _heard_within(connection: Connection, period: timedelta) -> ColumnElement[bool]:
    """Which workers were heard of lately; what is still to come was said before the clock was set back."""
    present = now(connection)
    return workers.c.seen.between(present - period, present + period)
