from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, text

from safelight.database import notifications, open_database, write_transaction
from safelight.database.notifications import PIPE_FOLDER, listen, notify
from safelight.settings import Settings

SOON = 2.0
"""Seconds within which a notification arrives; a listener polls only after much longer here."""


@pytest.fixture(autouse=True)
def no_backstop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "FALLBACK_INTERVAL", 1000.0)


@pytest.fixture
def engine(database_settings: Settings) -> Iterator[Engine]:
    opened = open_database(database_settings)
    yield opened
    opened.dispose()


def send(engine: Engine, *channels: str) -> None:
    with write_transaction(engine) as connection:
        for channel in channels:
            notify(connection, channel)


def test_a_new_listener_reports_all_channels_first(engine: Engine) -> None:
    listener = listen(engine, "jobs", "events")
    assert listener.wait(0.0) == {"jobs", "events"}
    assert listener.wait(0.0) == set()
    listener.close()


def test_all_listeners_of_a_channel_are_notified(engine: Engine) -> None:
    first, second, other = listen(engine, "jobs", "events"), listen(engine, "jobs"), listen(engine, "events")
    for listener in (first, second, other):
        listener.wait(0.0)
    send(engine, "jobs", "jobs")
    assert first.wait(SOON) == second.wait(SOON) == {"jobs"}
    assert other.wait(0.05) == set()
    assert first.wait(0.0) == set()
    send(engine, "events")
    assert first.wait(SOON) == other.wait(SOON) == {"events"}
    for listener in (first, second, other):
        listener.close()
    send(engine, "jobs")  # no listener


def test_a_waiting_listener_is_woken(engine: Engine) -> None:
    listener = listen(engine, "jobs")
    listener.wait(0.0)
    sending = threading.Timer(0.1, send, (engine, "jobs"))
    began = time.monotonic()
    sending.start()
    assert listener.wait(60.0) == {"jobs"}
    assert time.monotonic() - began < SOON
    sending.join()
    listener.close()


def test_it_is_sent_on_commit_and_not_on_rollback(engine: Engine) -> None:
    listener = listen(engine, "jobs")
    listener.wait(0.0)
    with write_transaction(engine) as connection:
        notify(connection, "jobs")
        assert listener.wait(0.05) == set()
    assert listener.wait(SOON) == {"jobs"}

    def fail() -> None:
        with write_transaction(engine) as connection:
            notify(connection, "jobs")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert listener.wait(0.05) == set()
    listener.close()


def test_a_wait_can_be_interrupted(engine: Engine) -> None:
    listener = listen(engine, "jobs")
    listener.wait(0.0)
    waking = threading.Timer(0.05, listener.wake)
    waking.start()
    began = time.monotonic()
    assert listener.wait(60.0) == set()
    assert time.monotonic() - began < SOON
    waking.join()
    listener.close()


def test_a_lost_notification_costs_only_a_delay(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "FALLBACK_INTERVAL", 0.1)
    listener = listen(engine, "jobs")
    listener.wait(0.0)
    assert listener.wait(60.0) == {"jobs"}
    listener.close()


CHILD = """
import sys, time
from contextlib import suppress
from pathlib import Path
from safelight.database import open_database
from safelight.database.notifications import listen
from safelight.settings import Settings
engine = open_database(Settings(home=Path(sys.argv[1])))
listener = listen(engine, "jobs")
listener.wait(0.0)
print("listening", flush=True)
print(listener.wait(60.0), flush=True)
time.sleep(60)
"""


def test_another_process_is_notified_and_a_killed_one_leaves_no_pipe(tmp_path: Path) -> None:
    engine = open_database(Settings(home=tmp_path))
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "listening\n"
    send(engine, "jobs")
    assert child.stdout.readline() == "{'jobs'}\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert list((tmp_path / PIPE_FOLDER).rglob("jobs.*"))
    send(engine, "jobs")
    assert not list((tmp_path / PIPE_FOLDER).rglob("jobs.*"))
    engine.dispose()


def test_the_pipes_are_private(tmp_path: Path) -> None:
    engine = open_database(Settings(home=tmp_path / "home"))
    listener = listen(engine, "jobs")
    made = [tmp_path / "home" / PIPE_FOLDER, *(tmp_path / "home" / PIPE_FOLDER).rglob("*")]
    assert len(made) == 3
    assert [path for path in made if path.stat().st_mode & 0o077] == []
    listener.close()
    engine.dispose()


def test_a_full_pipe_blocks_nobody(tmp_path: Path) -> None:
    engine = open_database(Settings(home=tmp_path))
    listener = listen(engine, "jobs")
    (pipe,) = (tmp_path / PIPE_FOLDER).rglob("jobs.*")
    descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(descriptor, bytes(4096))
    send(engine, "jobs")
    assert listener.wait(0.0) == {"jobs"}
    send(engine, "jobs")
    assert listener.wait(SOON) == {"jobs"}
    os.close(descriptor)
    listener.close()
    engine.dispose()


@pytest.mark.parametrize("missing", [True, False])
def test_without_named_pipes_it_polls_often(
    tmp_path: Path, missing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "POLL_INTERVAL", 0.05)

    def refuse(*_: object) -> None:
        raise PermissionError(1, "not on this file system")

    if missing:
        monkeypatch.delattr(os, "mkfifo")
    else:
        monkeypatch.setattr(os, "mkfifo", refuse)
    engine = open_database(Settings(home=tmp_path))
    listener = listen(engine, "jobs")
    for _ in range(3):
        assert listener.wait(60.0) == {"jobs"}
    listener.close()
    engine.dispose()


def test_a_lost_connection_is_reopened(postgres_url: str, tmp_path: Path) -> None:
    engine = open_database(Settings(home=tmp_path, database=SecretStr(postgres_url)))
    listener = listen(engine, "jobs")
    listener.wait(0.0)
    other = create_engine(engine.url, isolation_level="AUTOCOMMIT")
    with other.connect() as connection:
        ended = connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :name"),
            {"name": "safelight listener"},
        )
        assert ended.scalars().all() == [True]
    deadline = time.monotonic() + 10
    while listener._connected:
        assert time.monotonic() < deadline
        changed = listener.wait(SOON)
    assert changed == {"jobs"}  # a notification may have been missed
    while not listener._connected:
        assert time.monotonic() < deadline
        listener.wait(0.05)
    while listener.wait(0.0):
        pass
    send(engine, "jobs")
    assert listener.wait(SOON) == {"jobs"}
    listener.close()
    other.dispose()
    engine.dispose()
