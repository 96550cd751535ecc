from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine
from tests.jobs.book import Turns

from safelight.database import blobs, migrate, open_database
from safelight.jobs import tables
from safelight.jobs.admission import QueueLimits
from safelight.jobs.ledger import Ledger
from safelight.settings import Settings


@pytest.fixture
def database(database_settings: Settings) -> Iterator[Engine]:
    engine = open_database(database_settings)
    migrate(engine, [blobs.SCHEMA, tables.SCHEMA])
    yield engine
    engine.dispose()


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def ledger(database: Engine, turns: Turns) -> Ledger:
    return Ledger(database, turns.put, limits=QueueLimits(capacity=50))
