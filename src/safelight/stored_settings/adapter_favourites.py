"""The adapters that users have marked as favourites."""

from __future__ import annotations

from sqlalchemy import Engine, delete, select

from safelight.database.engine import read_transaction, write_transaction
from safelight.database.upsert import insert_into
from safelight.stored_settings.tables import adapter_favourites


class AdapterFavourites:
    """Favourites in a database, by kind and place of the adapter, so that a file may be replaced by a newer one.

    Args:
        engine: The database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def of(self, owner: str) -> frozenset[tuple[str, str]]:
        """An owner's favourites, by kind and place."""
        query = select(adapter_favourites.c.kind, adapter_favourites.c.place)
        with read_transaction(self._engine) as connection:
            rows = connection.execute(query.where(adapter_favourites.c.owner == owner))
            return frozenset((row.kind, row.place) for row in rows)

    def mark(self, owner: str, kind: str, place: str, *, favourite: bool) -> None:
        """Make an adapter an owner's favourite, or no longer."""
        key = {"owner": owner, "kind": kind, "place": place}
        with write_transaction(self._engine) as connection:
            if favourite:
                connection.execute(insert_into(connection, adapter_favourites).on_conflict_do_nothing(), key)
            else:
                same = (adapter_favourites.c[name] == value for name, value in key.items())
                connection.execute(delete(adapter_favourites).where(*same))
