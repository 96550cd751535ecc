"""Commands that tell workers to load or unload checkpoints.

Every worker reads all commands. For each checkpoint only the newest command is in effect; a command to unload all
checkpoints replaces all others.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select

from safelight.database.coordination import wait_in_line
from safelight.database.notifications import notify
from safelight.jobs.channels import Channel
from safelight.jobs.queue.tables import orders


@dataclass(frozen=True)
class ResidencyCommand:
    """A command to load or unload.

    Args:
        number: Later commands have larger numbers.
        load: True to load, False to unload.
        checkpoint: The checkpoint's name; None for all, which is only valid for unloading.
    """

    number: int
    load: bool
    checkpoint: str | None


def give(connection: Connection, checkpoint: str | None, *, load: bool) -> None:
    """Issue a command.

    Args:
        connection: A connection in a writing transaction.
        checkpoint: The checkpoint's name; None for all.
        load: True to load, False to unload.
    """
    wait_in_line(connection, "orders")  # otherwise a larger number could be seen before a smaller one
    superseded = delete(orders)
    connection.execute(
        superseded if checkpoint is None else superseded.where(orders.c.checkpoint == checkpoint)
    )
    connection.execute(insert(orders).values(checkpoint=checkpoint or "", load=load))
    notify(connection, Channel.COMMANDS)


def newer(connection: Connection, after: int) -> list[ResidencyCommand]:
    """The commands after a number that are still in effect, in order."""
    query = select(orders).where(orders.c.number > after).order_by(orders.c.number)
    return [
        ResidencyCommand(row.number, row.load, row.checkpoint or None) for row in connection.execute(query)
    ]


def newest(connection: Connection) -> int:
    """The largest number; 0 if there is no command."""
    return connection.execute(select(func.max(orders.c.number))).scalar() or 0
