"""Commands that tell workers to load or unload checkpoints.

Every worker reads all commands. For each checkpoint only the newest command is in effect; a command to unload all
checkpoints replaces all others.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select

from safelight.database.coordination import acquire_transaction_lock
from safelight.database.notifications import notify
from safelight.jobs.channels import Channel
from safelight.jobs.queue.tables import residency_commands


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


def issue_command(connection: Connection, checkpoint: str | None, *, load: bool) -> None:
    """Issue a command.

    Args:
        connection: A connection in a writing transaction.
        checkpoint: The checkpoint's name; None for all.
        load: True to load, False to unload.
    """
    acquire_transaction_lock(
        connection, "orders"
    )  # otherwise a larger number could be seen before a smaller one
    superseded = delete(residency_commands)
    connection.execute(
        superseded if checkpoint is None else superseded.where(residency_commands.c.checkpoint == checkpoint)
    )
    connection.execute(insert(residency_commands).values(checkpoint=checkpoint or "", load=load))
    notify(connection, Channel.COMMANDS)


def commands_after(connection: Connection, after: int) -> list[ResidencyCommand]:
    """The commands after a number that are still in effect, in order."""
    query = (
        select(residency_commands)
        .where(residency_commands.c.number > after)
        .order_by(residency_commands.c.number)
    )
    return [
        ResidencyCommand(row.number, row.load, row.checkpoint or None) for row in connection.execute(query)
    ]


def last_command_number(connection: Connection) -> int:
    """The largest number; 0 if there is no command."""
    return connection.execute(select(func.max(residency_commands.c.number))).scalar() or 0
