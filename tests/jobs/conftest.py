from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from safelight.database import blobs, migrate, open_database
from safelight.database.notifications import Listener, listen
from safelight.jobs.channels import Channel
from safelight.jobs.queue import tables
from safelight.jobs.queue.admission import QueueLimits, QueueRules
from safelight.jobs.queue.store import JobStore
from safelight.settings import Settings


@pytest.fixture
def database(database_settings: Settings) -> Iterator[Engine]:
    engine = open_database(database_settings)
    migrate(engine, [blobs.SCHEMA, tables.SCHEMA])
    yield engine
    for thread in threading.enumerate():
        if thread.name == "progress":  # of a job that a test has left running
            thread.join(30)
    engine.dispose()


@pytest.fixture
def store(database: Engine) -> JobStore:
    return JobStore(database, lambda: QueueRules(limits=QueueLimits(capacity=50)))


@pytest.fixture
def listener(database: Engine) -> Iterator[Listener]:
    """A listener as a worker has it; it has polled once."""
    opened = listen(database, Channel.JOBS, Channel.COMMANDS)
    assert opened.wait(0.0) == {Channel.JOBS, Channel.COMMANDS}
    yield opened
    opened.close()
