"""The services that front ends and workers share: the database, the job store, the gallery and the list of workers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, Engine, delete, select

from safelight.database import Schema, blobs, migrate, open_database, read_transaction, write_transaction
from safelight.database.coordination import now
from safelight.database.notifications import Listener, listen
from safelight.database.upsert import upsert
from safelight.expiry_clock import ExpiryClock
from safelight.gallery import Gallery
from safelight.gallery import tables as gallery_tables
from safelight.gallery.changes import delete_old_changes
from safelight.jobs.channels import Channel
from safelight.jobs.queue import tables
from safelight.jobs.queue.admission import QueueRules
from safelight.jobs.queue.commands import ResidencyCommand, commands_after, issue_command, last_command_number
from safelight.jobs.queue.eta import WORKER_TIMEOUT
from safelight.jobs.queue.store import JobStore
from safelight.jobs.queue.tables import workers
from safelight.settings import Settings
from safelight.stored_settings import tables as stored_settings
from safelight.stored_settings.runtime import RuntimeSettings, SettingsFollower

SCHEMAS = (blobs.SCHEMA, gallery_tables.SCHEMA, tables.SCHEMA, stored_settings.SCHEMA)
JSON_COLUMNS = ("checkpoints", "last_error", "memory_report")
"""The fields of a worker's description that are stored as JSON."""
WORKER_RETENTION = timedelta(days=1)
"""How long a worker stays in the list after its last heartbeat."""


def prepare_database(settings: Settings, *schemas: Schema) -> None:
    """Create or update all tables.

    Args:
        settings: Names the database.
        schemas: The schemas of other packages that use this database.

    Raises:
        DatabaseError: The database cannot be opened or changed, or a newer version of Safelight has migrated it.
    """
    engine = open_database(settings)
    try:
        migrate(engine, [*SCHEMAS, *schemas])
    finally:
        engine.dispose()


@dataclass(frozen=True)
class QueueService:
    """An open database with the queue and the gallery in it.

    Args:
        settings: All settings.
        engine: The database.
        store: The jobs.
        gallery: The generated pictures.
        clock: The clock that decides what has expired.
    """

    settings: Settings
    engine: Engine
    store: JobStore
    gallery: Gallery
    clock: ExpiryClock

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the database, and apply the changes of settings that it holds.

        ``prepare_database`` must have created its tables.
        """
        engine = open_database(settings)
        RuntimeSettings(engine, settings).refresh()
        store = JobStore(engine, lambda: QueueRules.of(settings))
        with read_transaction(engine) as connection:
            clock = ExpiryClock(now(connection))
        return cls(settings, engine, store, Gallery(engine, settings.home), clock)

    def listen(self, *channels: Channel) -> Listener:
        """A listener for changes made by other processes. The caller closes it."""
        return listen(self.engine, *channels)

    def follow_settings(self) -> SettingsFollower:
        """A context in which changes of settings by other processes are applied to this one's settings."""
        return SettingsFollower(self.engine, self.settings)

    def read_transaction(self) -> AbstractContextManager[Connection]:
        """A read-only connection."""
        return read_transaction(self.engine)

    def now(self) -> datetime:
        """The current time by the clock that all hosts share.

        Raises:
            DatabaseError: The clock cannot be read.
        """
        with self.read_transaction() as connection:
            return now(connection)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def register_worker(self, name: str, description: Mapping[str, Any]) -> None:
        """Record a worker's heartbeat and its description."""
        values = {**description, **{field: json.dumps(description.get(field)) for field in JSON_COLUMNS}}
        with write_transaction(self.engine) as connection:
            upsert(connection, workers, {"name": name}, {**values, "seen": now(connection)})

    def unregister_worker(self, name: str) -> None:
        """Remove a worker that has stopped."""
        with write_transaction(self.engine) as connection:
            connection.execute(delete(workers).where(workers.c.name == name))

    def request_load(self, checkpoint: str) -> None:
        """Ask all workers to load a checkpoint; each does so when it runs no job."""
        with write_transaction(self.engine) as connection:
            issue_command(connection, checkpoint, load=True)

    def request_unload(self, checkpoint: str | None = None) -> None:
        """Ask all workers to free the memory of one checkpoint, or of all, as soon as no job uses it."""
        with write_transaction(self.engine) as connection:
            issue_command(connection, checkpoint, load=False)

    def commands(self, after: int) -> list[ResidencyCommand]:
        """The commands with a number above ``after`` that are still in effect, in order."""
        with self.read_transaction() as connection:
            return commands_after(connection, after)

    def last_command(self) -> int:
        """The number of the newest command; 0 if there is none."""
        with self.read_transaction() as connection:
            return last_command_number(connection)

    def delete_expired(self) -> None:
        """Delete what has expired and what a crash left behind: jobs, inputs, gallery entries and files.

        Raises:
            DatabaseError, OutputError: Not everything was deleted; the next call deletes the rest.
        """
        expiry = self.clock.at(self.now())
        self.store.delete_expired(expiry)
        with write_transaction(self.engine) as connection:
            blobs.delete_unreferenced(
                connection, select(tables.job_blobs.c.digest), before=expiry - timedelta(hours=1)
            )
            connection.execute(delete(workers).where(~_seen_within(connection, WORKER_RETENTION)))
            delete_old_changes(connection, now(connection))
        if self.settings.gallery_retention:
            self.gallery.expire(expiry - timedelta(seconds=self.settings.gallery_retention))
        self.gallery.repair(now=expiry.timestamp())

    def workers(self) -> list[dict[str, Any]]:
        """The workers with a recent heartbeat."""
        with self.read_transaction() as connection:
            query = (
                select(workers)
                .where(_seen_within(connection, timedelta(seconds=WORKER_TIMEOUT)))
                .order_by(workers.c.name)
            )
            rows = connection.execute(query).mappings().all()
        return [{**row, **{field: json.loads(row[field]) for field in JSON_COLUMNS}} for row in rows]


def _seen_within(connection: Connection, period: timedelta) -> ColumnElement[bool]:
    """The condition for a recent heartbeat; also true after a clock was set back, up to the same period."""
    current = now(connection)
    return workers.c.seen.between(current - period, current + period)
