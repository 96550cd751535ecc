from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, inspect

from safelight.database import Schema, blobs, migrate, open_database, writing
from safelight.jobs.queue import tables
from safelight.jobs.queue.commands import ResidencyCommand, give, newer, newest
from safelight.jobs.queue_service import QueueService, prepare
from safelight.settings import Settings


def told(database: Engine, *orders: tuple[str | None, bool]) -> None:
    for checkpoint, load in orders:
        with writing(database) as connection:
            give(connection, checkpoint, load=load)


def left(database: Engine, after: int = 0) -> list[tuple[str | None, bool]]:
    with database.connect() as connection:
        return [(order.checkpoint, order.load) for order in newer(connection, after)]


def test_commands_arrive_in_order(database: Engine) -> None:
    told(database, ("a", True), ("b", True), ("c", False))
    assert left(database) == [("a", True), ("b", True), ("c", False)]


def test_the_latest_command_for_a_checkpoint_replaces_earlier_ones(database: Engine) -> None:
    told(database, ("a", True), ("b", True), ("a", False))
    assert left(database) == [("b", True), ("a", False)]


def test_unloading_everything_replaces_all_other_commands(database: Engine) -> None:
    told(database, ("a", True), ("b", False), (None, False), ("c", True))
    assert left(database) == [(None, False), ("c", True)]
    told(database, (None, False))
    assert left(database) == [(None, False)]


def test_ids_are_never_reused(database: Engine) -> None:
    with database.connect() as connection:
        assert newest(connection) == 0
    told(database, ("a", True), ("b", True))
    with database.connect() as connection:
        last = newest(connection)
    told(database, ("b", True))  # replaces the one with the largest id
    assert left(database, last) == [("b", True)]
    assert left(database, last + 1) == []


@pytest.fixture
def service(database_settings: Settings) -> Iterator[QueueService]:
    prepare(database_settings)
    opened = QueueService.open(database_settings)
    yield opened
    opened.close()


def test_the_service_sends_them(service: QueueService) -> None:
    service.load("a")
    service.unload("b")
    first, second = service.orders(0)
    assert (first.load, first.checkpoint, second.load, second.checkpoint) == (True, "a", False, "b")
    assert service.last_order() == second.number
    service.unload()
    assert service.orders(second.number) == [
        ResidencyCommand(service.last_order(), load=False, checkpoint=None)
    ]


def test_an_old_database_gets_the_table(database_settings: Settings) -> None:
    """Workers register again, with more information about themselves."""
    engine = open_database(database_settings)
    migrate(engine, [blobs.SCHEMA, Schema("jobs", tables.SCHEMA.migrations[:2])])
    assert inspect(engine).has_table("unloading")
    migrate(engine, [blobs.SCHEMA, tables.SCHEMA])
    assert not inspect(engine).has_table("unloading")
    assert {"why", "loading", "last_error"} <= {
        column["name"] for column in inspect(engine).get_columns("workers")
    }
    engine.dispose()
