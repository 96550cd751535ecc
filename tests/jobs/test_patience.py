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
from safelight.jobs import patience
from safelight.jobs.patience import patiently


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "RETRY_EVERY", 0.0)


class Database:
    """Can be used after so many errors."""

    def __init__(self, *errors: DatabaseError) -> None:
        self._errors: Iterator[DatabaseError] = iter(errors)
        self.tries = 0

    def use(self) -> str:
        self.tries += 1
        for error in self._errors:
            raise error
        return "done"


def test_an_outage_is_waited_for() -> None:
    database = Database(*[DatabaseBusyError() for _ in range(5)])
    assert patiently(database.use) == "done"
    assert database.tries == 6


@pytest.mark.parametrize("error", [DatabaseVersionError(), DatabaseDamagedError()])
def test_what_does_not_pass_is_not_waited_for(error: DatabaseError) -> None:
    database = Database(error)
    with pytest.raises(type(error)):
        patiently(database.use)
    assert database.tries == 1
    assert patiently(Database(error).use, always=True) == "done"


def test_a_full_disk_is_waited_for_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[DatabaseError] = []
    database = Database(*[StorageFullError() for _ in range(5)])
    assert patiently(database.use, waiting=told.append) == "done"
    assert [type(error) for error in told] == [StorageFullError]  # once, however often it was tried
    monkeypatch.setattr(patience, "FULL", 0.0)
    with pytest.raises(StorageFullError):
        patiently(Database(StorageFullError()).use)


def test_what_nobody_knows_is_waited_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement that the database refuses, it may refuse for ever."""
    database = Database(DatabaseError())
    assert patiently(database.use) == "done"
    monkeypatch.setattr(patience, "PUZZLED", 0.0)
    with pytest.raises(DatabaseError):
        patiently(Database(DatabaseError()).use)
    assert patiently(Database(DatabaseBusyError()).use) == "done"


def test_it_can_be_given_up() -> None:
    database = Database(*[DatabaseBusyError() for _ in range(9)])
    with pytest.raises(DatabaseBusyError):
        patiently(database.use, lambda: database.tries == 3)
    assert database.tries == 3
