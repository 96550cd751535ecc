"""Changes of the gallery, for the pages that show it: whichever process makes a change, every server hears of it.

A change is stored in the transaction that makes it, with a notification. What is stored is only needed until the
servers have read it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, delete, func, insert, select

from safelight.database.coordination import now
from safelight.database.engine import read_transaction
from safelight.database.notifications import notify
from safelight.gallery.tables import gallery_changes

CHANNEL = "gallery"
"""The channel of notifications of changes."""
RETENTION = timedelta(hours=1)
"""How long changes are stored."""
OVERLAP = 100
"""How many numbers each read goes back: with several writers, changes can become visible out of order."""


@dataclass(frozen=True)
class GalleryChange:
    """A change of one owner's gallery.

    Args:
        owner: The owner's name; None for pictures without one, which administrators see.
        changed: Ids of entries with other marks.
        deleted: Ids of deleted entries.
        collections: Whether the list of collections or what is in them has changed.
    """

    owner: str | None
    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    collections: bool = False


def record_change(connection: Connection, change: GalleryChange) -> None:
    """Store a change, and notify the servers when the open ``writing`` transaction is committed."""
    connection.execute(
        insert(gallery_changes).values(
            owner=change.owner,
            changed=json.dumps(change.changed),
            deleted=json.dumps(change.deleted),
            collections=change.collections,
            created=now(connection),
        )
    )
    notify(connection, CHANNEL)


def by_owner(entries: Iterable[tuple[str, str | None]]) -> dict[str | None, tuple[str, ...]]:
    """Ids of entries by owner, from pairs of id and owner."""
    found: defaultdict[str | None, list[str]] = defaultdict(list)
    for entry_id, owner in entries:
        found[owner].append(entry_id)
    return {owner: tuple(ids) for owner, ids in found.items()}


def delete_old_changes(connection: Connection, at: datetime) -> None:
    """Delete the changes that every server has read long before a time."""
    connection.execute(delete(gallery_changes).where(gallery_changes.c.created < at - RETENTION))


class ChangeReader:
    """Reads each change once, from the reader's creation on.

    Args:
        engine: The database.

    Raises:
        DatabaseError: The database cannot be read.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        with read_transaction(engine) as connection:
            self._last = connection.execute(select(func.max(gallery_changes.c.number))).scalar() or 0
            recent = select(gallery_changes.c.number).where(gallery_changes.c.number > self._last - OVERLAP)
            self._seen = set(connection.execute(recent).scalars())

    def read(self) -> Sequence[GalleryChange]:
        """The changes that have not been read, in their order.

        Raises:
            DatabaseError: The database cannot be read.
        """
        query = (
            select(gallery_changes)
            .where(gallery_changes.c.number > self._last - OVERLAP)
            .order_by(gallery_changes.c.number)
        )
        with read_transaction(self._engine) as connection:
            rows = [row for row in connection.execute(query) if row.number not in self._seen]
        self._seen.update(row.number for row in rows)
        self._last = max([self._last, *(row.number for row in rows)])
        self._seen = {number for number in self._seen if number > self._last - OVERLAP}
        return [
            GalleryChange(
                row.owner, tuple(json.loads(row.changed)), tuple(json.loads(row.deleted)), row.collections
            )
            for row in rows
        ]
