from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from safelight.database import Migration, Schema, migrate, open_database
from safelight.database.named_lock import create_named_lock
from safelight.errors import (
    DatabaseOpenError,
    DatabaseVersionError,
    DataDirectoryError,
    DataDirectoryInUseError,
)
from safelight.server.core import data_directory
from safelight.server.core.data_directory import check_database, exclusive_home
from safelight.settings import Settings


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def safelight(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself."""
    environment = os.environ | {
        "SAFELIGHT_HOME": str(settings.home),
        "SAFELIGHT_DATABASE": settings.database.get_secret_value(),
    }
    command = [sys.executable, "-m", "safelight", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_a_second_server_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    with exclusive_home(settings):
        ended = safelight(settings, "serve")
        assert ended.returncode == 2
        assert f"error [server.running]: {settings.home} is used by process {os.getpid()} on" in ended.stderr
        assert [str(path.relative_to(settings.home)) for path in settings.home.rglob("*")] == [
            "locks",
            "locks/server.lock",
        ]
        assert safelight(settings, "keys", "list").returncode == 0  # commands that only read are not blocked
        with pytest.raises(DataDirectoryInUseError), exclusive_home(settings):
            pass
    with exclusive_home(settings):
        pass


def test_a_second_worker_of_the_same_name_is_refused_and_changes_nothing(database_settings: Settings) -> None:
    first = create_named_lock(database_settings, "worker w")
    assert first.acquire()
    ended = safelight(database_settings, "worker", "--name", "w")
    assert ended.returncode == 2
    assert f"error [worker.name]: process {os.getpid()} on" in ended.stderr
    assert not (database_settings.home / "safelight.db").exists()
    first.release()


def test_it_is_private_whatever_the_umask(tmp_path: Path) -> None:
    folder, database = tmp_path / "home", tmp_path / "elsewhere.db"
    folder.mkdir(mode=0o755)
    (folder / "safelight.toml").write_text("")
    database.touch()
    with exclusive_home(Settings(home=folder, database=SecretStr(f"sqlite:///{database}"))):
        (folder / "made").touch()
    paths = (folder, folder / "safelight.toml", folder / "made", database)
    assert [path.stat().st_mode & 0o077 for path in paths] == [0] * 4
    assert tmp_path.stat().st_mode & 0o777 == 0o700  # pytest's own files


def test_an_unusable_data_directory_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(DataDirectoryError, match="Not a directory"),
        exclusive_home(Settings(home=tmp_path / "file" / "home")),
    ):
        pass


def test_a_damaged_database_is_reported_once_and_ends_the_server(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    settings.home.mkdir()
    (settings.home / "safelight.db").write_bytes(b"a diary, not a database" * 100)
    ended = safelight(settings, "serve")
    assert ended.returncode == 3
    assert ended.stderr.count("error [database.damaged]") == 1
    assert "died" not in ended.stderr


def test_a_newer_database_is_refused_before_anything_is_started(database_settings: Settings) -> None:
    assert check_database(database_settings)  # an empty database has no version
    engine = open_database(database_settings)
    migrate(engine, [Schema("gallery", (Migration.for_all_dialects(""),) * 99)])
    engine.dispose()
    with pytest.raises(DatabaseVersionError, match="gallery has version 99"):
        check_database(database_settings)


def test_an_unreachable_server_is_waited_for_and_a_missing_file_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_directory, "DATABASE_TIMEOUT", 1.0)
    away = Settings(home=tmp_path, database=SecretStr("postgresql://nobody@/nothing?host=/nowhere"))
    assert not check_database(away)
    (tmp_path / "safelight.db").mkdir()
    with pytest.raises(DatabaseOpenError):
        check_database(Settings(home=tmp_path))
