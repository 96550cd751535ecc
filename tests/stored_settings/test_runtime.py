from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert

from safelight.database import migrate, open_database, write_transaction
from safelight.database.coordination import now
from safelight.errors import SettingFixedError
from safelight.settings import CheckpointDefaults, Settings, Source
from safelight.stored_settings.runtime import RuntimeSettings, SettingsFollower
from safelight.stored_settings.tables import SCHEMA, runtime_settings


@pytest.fixture
def database(database_settings: Settings) -> Iterator[Engine]:
    engine = open_database(database_settings)
    migrate(engine, [SCHEMA])
    yield engine
    engine.dispose()


def load(home: Path, **flags: Any) -> Settings:
    return Settings.load(home=home, **flags)


def test_a_change_survives_a_restart(database: Engine, tmp_path: Path) -> None:
    settings = load(tmp_path)
    before = RuntimeSettings(database, settings).change({"queue_capacity": 5, "policy": "strict"}, "anna")
    assert before == {"queue_capacity": 10_000, "policy": "standard"}
    assert (settings.queue_capacity, settings.policy) == (5, "strict")
    again = load(tmp_path)
    RuntimeSettings(database, again).refresh()
    assert (again.queue_capacity, again.source("queue_capacity")) == (5, Source.RUNTIME)
    assert again.configured("queue_capacity") == 10_000
    assert RuntimeSettings(database, again).change({"queue_capacity": None}, "bert") == {"queue_capacity": 5}
    assert (again.queue_capacity, again.policy) == (10_000, "strict")


def test_objects_are_stored(database: Engine, tmp_path: Path) -> None:
    value = {"starter": CheckpointDefaults(steps=30, guidance_scale=4.5)}
    RuntimeSettings(database, load(tmp_path)).change(
        {"checkpoint_defaults": value, "languages": ("de",)}, "anna"
    )
    again = load(tmp_path)
    RuntimeSettings(database, again).refresh()
    assert (again.checkpoint_defaults, again.languages) == (value, ("de",))


def test_precedence(database: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flags, the environment, changes at runtime, the file, defaults."""
    RuntimeSettings(database, load(tmp_path)).change(
        dict.fromkeys(("queue_capacity", "max_pixels", "max_frames", "waiting_per_owner"), 7), "anna"
    )
    (tmp_path / "safelight.toml").write_text("queue_capacity = 6\nmax_bytes = 60\n")
    monkeypatch.setenv("SAFELIGHT_MAX_PIXELS", "5")
    settings = load(tmp_path, max_frames=4)
    runtime = RuntimeSettings(database, settings)
    runtime.refresh()
    found = {
        name: (getattr(settings, name), str(settings.source(name)), settings.can_change(name))
        for name in (
            "queue_capacity",
            "max_pixels",
            "max_frames",
            "waiting_per_owner",
            "max_bytes",
            "max_attempts",
        )
    }
    assert found == {
        "queue_capacity": (7, "runtime", True),
        "max_pixels": (5, "environment", False),
        "max_frames": (4, "flag", False),
        "waiting_per_owner": (7, "runtime", True),
        "max_bytes": (60, "file", True),
        "max_attempts": (3, "default", True),
    }
    assert settings.configured("queue_capacity") == 6
    for name in ("max_pixels", "max_frames", "port", "host"):
        with pytest.raises(SettingFixedError) as caught:
            runtime.change({"queue_capacity": 9, name: 8}, "anna")
        assert caught.value.field == name
    assert settings.queue_capacity == 7


def test_what_cannot_be_used_is_left_out(database: Engine, tmp_path: Path) -> None:
    """Such as of another version of Safelight."""
    rows = {"nosuch": 1, "port": 1, "queue_capacity": 0, "waiting_per_owner": 3}
    with write_transaction(database) as connection:
        for name, value in rows.items():
            values = {"changed": now(connection), "changed_by": "anna", "value": json.dumps(value)}
            connection.execute(insert(runtime_settings).values(name=name, **values))
    settings = load(tmp_path)
    RuntimeSettings(database, settings).refresh()
    assert (settings.port, settings.queue_capacity, settings.waiting_per_owner) == (7860, 10_000, 3)


def test_another_process_follows(database: Engine, tmp_path: Path) -> None:
    mine, theirs = load(tmp_path), load(tmp_path)
    with SettingsFollower(database, theirs):
        for value in (5, 6):
            RuntimeSettings(database, mine).change({"queue_capacity": value}, "anna")
            deadline = time.monotonic() + 20
            while theirs.queue_capacity != value:
                assert time.monotonic() < deadline
                time.sleep(0.01)
