from __future__ import annotations

from collections.abc import Iterator

import pytest

from safelight.errors import (
    DatabaseBusyError,
    DatabaseDamagedError,
    DatabaseError,
    DatabaseVersionError,
    StorageFullError,
)
from safelight.jobs import retry
from safelight.jobs.retry import retry_transient


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "RETRY_INTERVAL", 0.0)


class Database:
    """A database that fails a given number of times before it works."""

    def __init__(self, *errors: DatabaseError) -> None:
        self._errors: Iterator[DatabaseError] = iter(errors)
        self.tries = 0

    def use(self) -> str:
        self.tries += 1
        for error in self._errors:
            raise error
        return "done"


def test_an_outage_is_retried() -> None:
    database = Database(*[DatabaseBusyError() for _ in range(5)])
    assert retry_transient(database.use) == "done"
    assert database.tries == 6


@pytest.mark.parametrize("error", [DatabaseVersionError(), DatabaseDamagedError()])
def test_permanent_errors_are_not_retried(error: DatabaseError) -> None:
    database = Database(error)
    with pytest.raises(type(error)):
        retry_transient(database.use)
    assert database.tries == 1
    assert retry_transient(Database(error).use, retry_all=True) == "done"


def test_a_full_disk_is_retried_for_a_limited_time(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[DatabaseError] = []
    database = Database(*[StorageFullError() for _ in range(5)])
    assert retry_transient(database.use, on_wait=told.append) == "done"
    assert [type(error) for error in told] == [StorageFullError]  # once, however often it was tried
    monkeypatch.setattr(retry, "STORAGE_FULL_TIMEOUT", 0.0)
    with pytest.raises(StorageFullError):
        retry_transient(Database(StorageFullError()).use)


def test_unknown_errors_are_retried_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database may refuse a statement for ever."""
    database = Database(DatabaseError())
    assert retry_transient(database.use) == "done"
    monkeypatch.setattr(retry, "UNKNOWN_ERROR_TIMEOUT", 0.0)
    with pytest.raises(DatabaseError):
        retry_transient(Database(DatabaseError()).use)
    assert retry_transient(Database(DatabaseBusyError()).use) == "done"


def test_retrying_can_be_stopped() -> None:
    database = Database(*[DatabaseBusyError() for _ in range(9)])
    with pytest.raises(DatabaseBusyError):
        retry_transient(database.use, lambda: database.tries == 3)
    assert database.tries == 3
