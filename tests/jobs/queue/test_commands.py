from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, inspect

from safelight.database import Schema, blobs, migrate, open_database, write_transaction
from safelight.jobs.queue import tables
from safelight.jobs.queue.commands import ResidencyCommand, commands_after, issue_command, last_command_number
from safelight.jobs.queue_service import QueueService, prepare_database
from safelight.settings import Settings


def received_commands(database: Engine, *orders: tuple[str | None, bool]) -> None:
    for checkpoint, load in orders:
        with write_transaction(database) as connection:
            issue_command(connection, checkpoint, load=load)


def remaining_commands(database: Engine, after: int = 0) -> list[tuple[str | None, bool]]:
    with database.connect() as connection:
        return [(order.checkpoint, order.load) for order in commands_after(connection, after)]


def test_commands_arrive_in_order(database: Engine) -> None:
    received_commands(database, ("a", True), ("b", True), ("c", False))
    assert remaining_commands(database) == [("a", True), ("b", True), ("c", False)]


def test_the_latest_command_for_a_checkpoint_replaces_earlier_ones(database: Engine) -> None:
    received_commands(database, ("a", True), ("b", True), ("a", False))
    assert remaining_commands(database) == [("b", True), ("a", False)]


def test_unloading_everything_replaces_all_other_commands(database: Engine) -> None:
    received_commands(database, ("a", True), ("b", False), (None, False), ("c", True))
    assert remaining_commands(database) == [(None, False), ("c", True)]
    received_commands(database, (None, False))
    assert remaining_commands(database) == [(None, False)]


def test_ids_are_never_reused(database: Engine) -> None:
    with database.connect() as connection:
        assert last_command_number(connection) == 0
    received_commands(database, ("a", True), ("b", True))
    with database.connect() as connection:
        last = last_command_number(connection)
    received_commands(database, ("b", True))  # replaces the one with the largest id
    assert remaining_commands(database, last) == [("b", True)]
    assert remaining_commands(database, last + 1) == []


@pytest.fixture
def service(database_settings: Settings) -> Iterator[QueueService]:
    prepare_database(database_settings)
    opened = QueueService.open(database_settings)
    yield opened
    opened.close()


def test_the_service_sends_them(service: QueueService) -> None:
    service.request_load("a")
    service.request_unload("b")
    first, second = service.commands(0)
    assert (first.load, first.checkpoint, second.load, second.checkpoint) == (True, "a", False, "b")
    assert service.last_command() == second.number
    service.request_unload()
    assert service.commands(second.number) == [
        ResidencyCommand(service.last_command(), load=False, checkpoint=None)
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
