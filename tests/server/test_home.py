from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from safelight.database.exclusive import exclusive_name
from safelight.errors import HomeError, HomeInUseError
from safelight.server.home import own_home
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


def test_a_second_server_says_so_and_touches_nothing(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    with own_home(settings):
        ended = safelight(settings, "serve")
        assert ended.returncode == 2
        assert f"error [server.running]: {settings.home} is used by process {os.getpid()} on" in ended.stderr
        assert [str(path.relative_to(settings.home)) for path in settings.home.rglob("*")] == [
            "locks",
            "locks/server.lock",
        ]
        assert safelight(settings, "keys", "list").returncode == 0  # who only looks is not held up
        with pytest.raises(HomeInUseError), own_home(settings):
            pass
    with own_home(settings):
        pass


def test_a_second_worker_of_a_name_says_so_and_touches_nothing(database_settings: Settings) -> None:
    first = exclusive_name(database_settings, "worker w")
    assert first.acquire()
    ended = safelight(database_settings, "worker", "--name", "w")
    assert ended.returncode == 2
    assert f"error [worker.name]: process {os.getpid()} on" in ended.stderr
    assert not (database_settings.home / "safelight.db").exists()
    first.release()


def test_it_is_closed_to_others_whatever_the_umask(tmp_path: Path) -> None:
    home, database = tmp_path / "home", tmp_path / "elsewhere.db"
    home.mkdir(mode=0o755)
    (home / "safelight.toml").write_text("")
    database.touch()
    with own_home(Settings(home=home, database=SecretStr(f"sqlite:///{database}"))):
        (home / "made").touch()
    assert [
        path.stat().st_mode & 0o077 for path in (home, home / "safelight.toml", home / "made", database)
    ] == [0] * 4
    assert tmp_path.stat().st_mode & 0o777 == 0o700  # pytest's own


def test_one_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(HomeError, match="Not a directory"),
        own_home(Settings(home=tmp_path / "file" / "home")),
    ):
        pass
