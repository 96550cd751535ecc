"""The durable queue of turns, on DBOS.

A turn is the right to begin one job; which one is decided when a worker takes it (``turns.py``). Turns are put into the
queue in the transaction that puts the job there, so neither can be without the other, and DBOS hands a turn that was
taken by a worker that died to its successor of the same name.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from dbos import (
    DBOS,
    DBOSClient,
    DBOSConfig,
    DBOSPortableJSONSerializer,
    WorkflowSerializationFormat,
    run_dbos_database_migrations,
)
from sqlalchemy import Connection

from safelight.database.failures import explained
from safelight.jobs.no_pickle import refuse_pickle

QUEUE, TURN, APPLICATION = "safelight", "take_turn", "safelight"
VERSION = "1"
"""Of what a turn is: turns of another version are left to workers of that version."""
BATCH = 500
"""Turns deleted at once."""
POLLING = 0.1
"""Seconds between two looks at the queue."""


def prepare(url: str) -> None:
    """Create or update DBOS's own tables.

    Raises:
        DatabaseError: They cannot be made.
    """
    with explained():
        run_dbos_database_migrations(url)


class Dispatcher:
    """Puts turns into the queue.

    Args:
        url: The database.
    """

    def __init__(self, url: str) -> None:
        refuse_pickle()
        self._client = DBOSClient(
            system_database_url=url,
            serializer=DBOSPortableJSONSerializer(),
            application_name=APPLICATION,
            lazy=True,
        )

    def enqueue(self, connection: Connection, name: str) -> None:
        """Put a turn into the queue within a transaction on the same database."""
        self._client.enqueue_in_transaction(
            connection,
            {
                "workflow_name": TURN,
                "queue_name": QUEUE,
                "workflow_id": f"turn-{name}",
                "app_version": VERSION,
                "serialization_type": WorkflowSerializationFormat.PORTABLE,
            },
        )

    def forget(self, before: datetime) -> int:
        """Delete turns that ended before a time; returns how many.

        Raises:
            DatabaseError: They were not all deleted.
        """
        with explained():
            return self._forget(before)

    def _forget(self, before: datetime) -> int:
        ended = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
        deleted = 0
        while True:
            found = self._client.list_workflows(
                name=TURN,
                status=ended,
                completed_before=before.isoformat(),
                limit=BATCH,
                load_input=False,
                load_output=False,
            )
            self._client.delete_workflows([turn.workflow_id for turn in found])
            deleted += len(found)
            if len(found) < BATCH:
                return deleted

    def close(self) -> None:
        """Close the connections."""
        self._client.destroy()


class Turns:
    """Takes turns from the queue, each in a thread of its own.

    Args:
        url: The database.
        worker: A name that stays the same when the process is started again: its interrupted turns come back to it.
        take: Called for each turn.
        concurrency: How many at once.
    """

    def __init__(self, url: str, worker: str, take: Callable[[], None], *, concurrency: int) -> None:
        refuse_pickle()
        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": url,
            "executor_id": worker,
            "application_version": VERSION,
            "serializer": DBOSPortableJSONSerializer(),
            "use_listen_notify": False,
            "console_log_level": "WARNING",
            "run_migrations": False,
        }
        DBOS(config=config)

        def turn() -> None:  # a plain function: DBOS notes things on it
            take()

        self._take = DBOS.workflow(name=TURN)(turn)
        self._concurrency = concurrency

    def start(self) -> None:
        """Begin to take turns, first those that were interrupted.

        Raises:
            DatabaseError: The queue cannot be read.
        """
        with explained():
            DBOS.launch()
            DBOS.register_queue(
                QUEUE,
                worker_concurrency=self._concurrency,
                polling_interval_sec=POLLING,
                on_conflict="always_update",
            )

    def take_one(self) -> None:
        """Take a turn that nobody queued: for jobs whose own turn was lost with a worker that never came back.

        Raises:
            DatabaseError: It was not taken.
        """
        with explained():
            DBOS.start_workflow(self._take)

    def stop(self, seconds: int) -> None:
        """Take no more turns from this moment on, and wait so long for those that were taken."""
        DBOS.destroy(workflow_completion_timeout_sec=seconds)
