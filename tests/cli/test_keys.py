from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import CommandResult

from safelight.cli.app import run
from safelight.database import migrate, open_database
from safelight.server.security.keys import SCHEMA, KeyStore
from safelight.server.security.principal import Role
from safelight.settings import Settings


@pytest.fixture
def keys_home(tmp_path: Path) -> Path:
    return tmp_path / "keys-home"


@pytest.fixture
def keys(
    keys_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., CommandResult]:
    """Run the command within this process."""
    monkeypatch.setenv("SAFELIGHT_HOME", str(keys_home))
    return lambda *arguments: CommandResult(run(["keys", *arguments]), *capfd.readouterr())


def test_add_list_and_revoke(keys, keys_home):
    made = keys("add", "anna", "--role", "admin", "--pictures-per-day", "5")
    assert made.status == 0
    key = made.out.strip()
    assert key.startswith("sl_")
    assert key not in made.err
    engine = open_database(Settings(home=keys_home))
    assert KeyStore(engine).authenticate(key, "anna").role is Role.ADMIN

    (row,) = keys("list", "--json").json_body["keys"]
    assert (row["name"], row["role"], row["pictures_per_day"], row["revoked"]) == ("anna", "admin", 5, None)
    listed = keys("list")
    assert "anna" in listed.out
    assert "5 pictures a day" in listed.out
    assert key.rpartition("_")[2] not in listed.out

    assert keys("revoke", "anna").status == 0
    assert not KeyStore(engine).has_any()
    assert "revoked 2" in keys("list").out
    engine.dispose()
    log = (keys_home / "audit.log").read_text()
    assert [(line["event"], line["key"]) for line in map(json.loads, log.splitlines())] == [
        ("key.made", "anna"),
        ("key.revoked", "anna"),
    ]
    assert key.rpartition("_")[2] not in log


def test_as_json(keys):
    body = keys("add", "anna", "--megapixels-per-day", "1.5", "--json").json_body
    assert (body["name"], body["role"], body["key"][:3]) == ("anna", "user", "sl_")
    assert keys("revoke", "anna", "--json").json_body["revoked"] is not None


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "local"),
        ("add", "a/b"),
        ("revoke", "nobody"),
        ("add", "anna", "--role", "king"),
        ("add", "anna", "--pictures-per-day", "-1"),
    ],
)
def test_invalid_input(keys, arguments):
    ran = keys(*arguments, "--json")
    assert ran.status == 2
    assert ran.json_body["error"]["code"] in ("key.name", "usage")


def test_an_empty_list(keys):
    ran = keys("list")
    assert (ran.status, ran.out) == (0, "")
    assert "no keys" in ran.err


def test_tables_are_created_once(keys_home):
    engine = open_database(Settings(home=keys_home))
    migrate(engine, [SCHEMA])
    key = KeyStore(engine).add("anna")
    migrate(engine, [SCHEMA])
    assert KeyStore(engine).authenticate(key, "anna").role is Role.USER, "a second time changes nothing"
    engine.dispose()
