from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from safelight.database import migrate, open_database
from safelight.settings import Settings
from safelight.stored_settings.adapter_favourites import AdapterFavourites
from safelight.stored_settings.tables import SCHEMA


@pytest.fixture
def database(database_settings: Settings) -> Iterator[Engine]:
    engine = open_database(database_settings)
    migrate(engine, [SCHEMA])
    yield engine
    engine.dispose()


def test_favourites_are_kept_for_each_owner(database: Engine) -> None:
    favourites = AdapterFavourites(database)
    for _ in range(2):
        favourites.mark("anna", "LoRA", "styles/ink", favourite=True)
    favourites.mark("anna", "embedding", "styles/ink", favourite=True)
    favourites.mark("berta", "LoRA", "styles/ink", favourite=True)
    assert favourites.of("anna") == {("LoRA", "styles/ink"), ("embedding", "styles/ink")}
    for _ in range(2):
        favourites.mark("anna", "LoRA", "styles/ink", favourite=False)
    assert favourites.of("anna") == {("embedding", "styles/ink")}
    assert favourites.of("berta") == {("LoRA", "styles/ink")}
