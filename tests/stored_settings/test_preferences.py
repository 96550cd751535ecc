from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from safelight.database import migrate, open_database
from safelight.settings import Settings
from safelight.stored_settings.preferences import PreferenceStore
from safelight.stored_settings.tables import SCHEMA


@pytest.fixture
def database(database_settings: Settings) -> Iterator[Engine]:
    engine = open_database(database_settings)
    migrate(engine, [SCHEMA])
    yield engine
    engine.dispose()


def test_each_owner_has_preferences(database: Engine) -> None:
    store = PreferenceStore(database)
    assert store.get("anna") == {}
    assert store.change("anna", {"look": "dark", "tile_size": 200}) == {"look": "dark", "tile_size": 200}
    store.change("bert", {"look": "light"})
    assert store.change("anna", {"look": None, "language": "de"}) == {"tile_size": 200, "language": "de"}
    assert (store.get("anna"), store.get("bert")) == ({"tile_size": 200, "language": "de"}, {"look": "light"})
