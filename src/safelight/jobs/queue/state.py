"""The state of the queue as a whole: whether it is paused, and counters that tell readers of changes of its order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, update

from safelight.database.coordination import now
from safelight.database.notifications import notify
from safelight.jobs.channels import Channel
from safelight.jobs.queue.tables import queue_state


@dataclass(frozen=True)
class QueueState:
    """The queue as a whole.

    Args:
        paused_since: When it was paused; None while jobs start as usual.
        paused_by: The owner who paused it.
        changes: How often it was paused, resumed or reordered.
        clears: How often finished jobs were cleared from the lists.
    """

    paused_since: datetime | None
    paused_by: str
    changes: int
    clears: int

    @property
    def paused(self) -> bool:
        """Whether no job starts."""
        return self.paused_since is not None


def read_queue_state(connection: Connection) -> QueueState:
    """The queue's state."""
    row = connection.execute(select(queue_state)).one()
    return QueueState(row.paused, row.paused_by, row.changes, row.clears)


def set_paused(connection: Connection, owner: str | None) -> None:
    """Pause the queue, or resume it; a paused queue stays paused since its first pause.

    Args:
        connection: A connection in a writing transaction.
        owner: Who pauses it; None to resume it.
    """
    query = update(queue_state).where(
        queue_state.c.paused.is_not(None) if owner is None else queue_state.c.paused.is_(None)
    )
    values = {"paused": None if owner is None else now(connection), "paused_by": owner or ""}
    if connection.execute(query.values(**values, changes=queue_state.c.changes + 1)).rowcount:
        notify(connection, Channel.EVENTS)
        notify(connection, Channel.JOBS)


def count_change(connection: Connection) -> None:
    """Record that the order of queued jobs has changed."""
    connection.execute(update(queue_state).values(changes=queue_state.c.changes + 1))
    notify(connection, Channel.EVENTS)
    notify(connection, Channel.JOBS)


def count_clear(connection: Connection) -> None:
    """Record that finished jobs were cleared from the lists."""
    connection.execute(update(queue_state).values(clears=queue_state.c.clears + 1))
    notify(connection, Channel.EVENTS)
