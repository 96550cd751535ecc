"""What workers are told to have in memory, and what not to.

All workers hear all orders. Of each checkpoint the newest one counts; to unload everything replaces all others.
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
    """One of them.

    Args:
        number: Later ones have larger numbers.
        load: Into memory, or out of it.
        checkpoint: Which; None for all there are, which is only said of unloading.
    """

    number: int
    load: bool
    checkpoint: str | None


def give(connection: Connection, checkpoint: str | None, *, load: bool) -> None:
    """Give an order.

    Args:
        connection: Within a transaction that writes.
        checkpoint: Which; None for all there are.
        load: Into memory, or out of it.
    """
    wait_in_line(connection, "orders")  # otherwise a larger number could be seen before a smaller one
    superseded = delete(orders)
    connection.execute(
        superseded if checkpoint is None else superseded.where(orders.c.checkpoint == checkpoint)
    )
    connection.execute(insert(orders).values(checkpoint=checkpoint or "", load=load))
    notify(connection, Channel.COMMANDS)


def newer(connection: Connection, after: int) -> list[ResidencyCommand]:
    """Those after a number that still count, in their order."""
    query = select(orders).where(orders.c.number > after).order_by(orders.c.number)
    return [
        ResidencyCommand(row.number, row.load, row.checkpoint or None) for row in connection.execute(query)
    ]


def newest(connection: Connection) -> int:
    """The largest number; 0 where there is no order."""
    return connection.execute(select(func.max(orders.c.number))).scalar() or 0
