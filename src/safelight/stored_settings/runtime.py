"""Settings that were changed while a server ran: stored in the database, and applied in every process that uses it."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any, Self

from sqlalchemy import Connection, Engine, delete, select

from safelight.database.coordination import acquire_transaction_lock, now
from safelight.database.engine import read_transaction, write_transaction
from safelight.database.notifications import Listener, listen, notify
from safelight.database.upsert import upsert
from safelight.errors import DatabaseError, SafelightError, SettingFixedError
from safelight.logs import get_logger
from safelight.settings import CHANGEABLE, Settings, Source, parse_value
from safelight.stored_settings.tables import CHANNEL, runtime_settings


class RuntimeSettings:
    """The changes of settings in a database.

    Args:
        engine: The database.
        settings: The settings of this process, to which the changes are applied.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings = engine, settings

    def refresh(self) -> None:
        """Apply the changes that are stored.

        One that cannot be used, such as of another version of Safelight, is left out with a warning.

        Raises:
            DatabaseError: They cannot be read.
        """
        with read_transaction(self._engine) as connection:
            values = self._read(connection)
        self._settings.apply(values)

    def change(self, changes: Mapping[str, Any], owner: str) -> dict[str, Any]:
        """Store changes and apply them in this process; other processes are notified. All of them or none.

        Args:
            changes: Valid values by name; None to return to the value without changes at runtime.
            owner: Who changes them.

        Returns:
            The former values of the settings, as JSON values.

        Raises:
            SettingFixedError: A setting cannot be changed while a server runs, or the environment gives it.
            DatabaseError: Nothing was stored.
        """
        for name in changes:
            self.check_changeable(name)
        with write_transaction(self._engine) as connection:
            acquire_transaction_lock(connection, CHANNEL)
            former = self._read(connection)
            before = {name: json_value(former.get(name, self._settings.configured(name))) for name in changes}
            for name, value in changes.items():
                if value is None:
                    connection.execute(delete(runtime_settings).where(runtime_settings.c.name == name))
                else:
                    values = {"changed": now(connection), "changed_by": owner}
                    text = json.dumps(json_value(value))
                    upsert(connection, runtime_settings, {"name": name}, {"value": text, **values})
            notify(connection, CHANNEL)
        self.refresh()
        return before

    def check_changeable(self, name: str) -> None:
        """Raise unless a setting can be changed now.

        Raises:
            SettingFixedError: It cannot be changed while a server runs, or the environment or a flag gives it.
        """
        if name in Settings.model_fields and name not in CHANGEABLE:
            raise SettingFixedError(f"{name} cannot be changed while the server runs.", field=name)
        if name in Settings.model_fields and not self._settings.can_change(name):
            source = self._settings.source(name)
            flag = source is Source.FLAG
            raise SettingFixedError(
                f"{name} is given by {'an option of the command' if flag else 'the environment'}.",
                hint=f"Start the server without {f'--{name}' if flag else f'SAFELIGHT_{name.upper()}'} first.",
                field=name,
                context={"source": str(source)},
            )

    def _read(self, connection: Connection) -> dict[str, Any]:
        values = {}
        for row in connection.execute(select(runtime_settings)):
            try:
                if row.name in CHANGEABLE:
                    values[row.name] = parse_value(row.name, json.loads(row.value))
                    continue
                reason = "there is no such setting that can be changed"
            except SafelightError as error:
                reason = error.message
            get_logger(__name__).warning("a stored setting is left out", setting=row.name, error=reason)
        return values


class SettingsFollower:
    """A thread that applies changes of settings which other processes store. A context manager.

    Args:
        engine: The database.
        settings: The settings of this process.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._runtime = RuntimeSettings(engine, settings)
        self._listener: Listener = listen(engine, CHANNEL)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="settings")

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the thread."""
        self._stopped = True
        self._listener.wake()
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while not self._stopped:
            if not self._listener.wait() or self._stopped:
                continue
            try:
                self._runtime.refresh()
            except DatabaseError as error:  # the next poll reads them
                get_logger(__name__).warning("settings not read", error=error.message)
            except Exception as error:  # noqa: BLE001  a defect must not end the thread
                get_logger(__name__).error("a defect", exc_info=error)


def json_value(value: Any) -> Any:
    """The value of a setting as JSON."""
    match value:
        case dict():
            return {key: json_value(each) for key, each in value.items()}
        case list() | tuple():
            return [json_value(each) for each in value]
        case None | bool() | int() | float() | str():
            return value
        case _ if hasattr(value, "model_dump"):
            return value.model_dump(exclude_none=True)
    return str(value)
