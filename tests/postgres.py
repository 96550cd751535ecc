"""A temporary PostgreSQL server for the tests; never the machine's own server."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import create_engine, text

from safelight.settings import Settings

PROGRAMS = Path("/usr/lib/postgresql")  # Debian's folders, one for each version
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a running server's database ``postgres``; every connection is a superuser's."""
    programs = _programs_folder()
    if programs is None:
        pytest.skip(f"PostgreSQL is not installed (no initdb in {PROGRAMS}/*/bin)")
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        pytest.skip("PostgreSQL does not run as root, and there is no runuser to run it as another user")
    with _cluster(programs) as url:
        yield url


@contextmanager
def running_server() -> Iterator[str]:
    """Start the server for a script, which needs PostgreSQL to be installed."""
    programs = _programs_folder()
    if programs is None:
        raise SystemExit(f"PostgreSQL is not installed (no initdb in {PROGRAMS}/*/bin)")
    with _cluster(programs) as url:
        yield url


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    """The URL of an empty database for one test."""
    with empty_database(postgres) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings with an empty database for one test: SQLite always, PostgreSQL where it is installed."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    return Settings(home=tmp_path / "home", database=SecretStr(url))


@contextmanager
def empty_database(postgres: str) -> Iterator[str]:
    """Create an empty database on a running server and return its URL."""
    name = f"test_{uuid4().hex}"
    _command_line(postgres, f"CREATE DATABASE {name} TEMPLATE template0")
    yield postgres.replace("/postgres?", f"/{name}?")
    _command_line(postgres, f"DROP DATABASE {name} WITH (FORCE)")


def _programs_folder() -> Path | None:
    """The folder of the newest version's programs."""
    found = [path.parent for path in PROGRAMS.glob("*/bin/initdb")]
    return max(found, key=lambda folder: float(folder.parent.name), default=None)


@contextmanager
def _cluster(programs: Path) -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # the path of a Unix socket must be short
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        data = folder / "data"
        _run(programs / "initdb", "--no-sync", "--auth=trust", "--username=postgres", f"--pgdata={data}")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} " + " ".join(
            f"-c {setting}" for setting in FAST
        )
        control = (programs / "pg_ctl", f"--pgdata={data}", "--wait", f"--log={folder / 'log'}")
        _run(*control, "start", "-o", options)
        try:
            yield f"postgresql://postgres@/postgres?host={folder}"
        finally:
            _run(*control, "--mode=immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(*command: str | Path) -> None:
    """Run one of the server's programs, which refuse to run as root."""
    other = ("runuser", "-u", "postgres", "--") if os.geteuid() == 0 else ()
    done = subprocess.run([*other, *map(str, command)], cwd="/tmp", capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def _command_line(url: str, statement: str) -> None:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
