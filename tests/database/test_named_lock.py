from __future__ import annotations

import threading
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import create_engine, text

from safelight.database.named_lock import create_named_lock, describe_process
from safelight.errors import DatabaseOpenError
from safelight.settings import Settings


def test_a_name_is_held_by_one_process(database_settings: Settings, tmp_path: Path) -> None:
    """Whatever its data directory: they share the database."""
    others = database_settings.model_copy(update={"home": tmp_path / "another"})
    if not database_settings.database.get_secret_value():
        others = others.model_copy(update={"database": SecretStr(database_settings.database_url)})
    first, second, third = (
        create_named_lock(database_settings, "anna"),
        create_named_lock(others, "anna"),
        create_named_lock(others, "bert"),
    )
    assert first.acquire()
    assert first.is_held()
    assert not second.acquire()
    assert second.holder() == describe_process()
    assert third.acquire()
    first.release()
    assert second.acquire(timeout=5.0)
    assert second.is_held()
    second.release()
    third.release()


def test_a_process_that_is_about_to_exit_is_waited_for(database_settings: Settings) -> None:
    first, second = (create_named_lock(database_settings, "anna") for _ in range(2))
    assert first.acquire()
    leaving = threading.Timer(0.3, first.release)
    leaving.start()
    assert second.acquire(timeout=30.0)
    leaving.join()
    second.release()


def test_after_a_lost_connection_it_is_reacquired_unless_others_were_faster(
    postgres_url: str, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path, database=SecretStr(postgres_url))
    first, second = (create_named_lock(settings, "anna") for _ in range(2))
    assert first.acquire()
    terminate_connections(postgres_url)
    assert first.is_held()
    assert not second.acquire()  # so it has it again
    terminate_connections(postgres_url)
    assert second.acquire(timeout=10.0)
    assert not first.is_held()
    assert not first.is_held()
    second.release()
    assert first.is_held()
    first.release()


def test_while_the_server_is_unreachable_no_other_can_acquire_it(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, database=SecretStr("postgresql://nobody@/nothing?host=/nowhere"))
    name = create_named_lock(settings, "anna")
    assert name.is_held()
    with pytest.raises(DatabaseOpenError):
        name.acquire()
    name.release()


def terminate_connections(url: str) -> None:
    """Terminate all other connections to a database."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    engine.dispose()
