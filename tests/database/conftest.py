"""An empty database for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from safelight.database import open_database
from safelight.settings import Settings


@pytest.fixture
def engine(database_settings: Settings) -> Iterator[Engine]:
    engine = open_database(database_settings)
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(Settings(home=tmp_path))
    yield engine
    engine.dispose()
