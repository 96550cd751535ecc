"""The preferences of a server's users: a small JSON object for each owner."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import JsonValue
from sqlalchemy import Connection, Engine, select

from safelight.database.coordination import acquire_transaction_lock, now
from safelight.database.engine import read_transaction, write_transaction
from safelight.database.upsert import upsert
from safelight.stored_settings.tables import CHANNEL, preferences


class PreferenceStore:
    """Preferences in a database.

    Args:
        engine: The database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, owner: str) -> dict[str, JsonValue]:
        """What an owner has set, by name."""
        with read_transaction(self._engine) as connection:
            return _read(connection, owner)

    def change(self, owner: str, changes: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Set some values of an owner, and remove those that are None; returns all that are set."""
        with write_transaction(self._engine) as connection:
            acquire_transaction_lock(connection, f"{CHANNEL} {owner}")
            merged = _read(connection, owner) | dict(changes)
            kept: dict[str, JsonValue] = {name: value for name, value in merged.items() if value is not None}
            values = {"value": json.dumps(kept), "changed": now(connection)}
            upsert(connection, preferences, {"owner": owner}, values)
        return kept


def _read(connection: Connection, owner: str) -> dict[str, JsonValue]:
    text = connection.execute(select(preferences.c.value).where(preferences.c.owner == owner)).scalar()
    found: dict[str, JsonValue] = json.loads(text or "{}")
    return found
