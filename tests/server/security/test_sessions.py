from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, func, select
from tests.times import seconds_ago

from safelight.database import migrate, open_database, read_transaction
from safelight.errors import KeyRequiredError
from safelight.expiry_clock import ExpiryClock
from safelight.server.security import sessions as module
from safelight.server.security.keys import SCHEMA, KeyStore
from safelight.server.security.keys import sessions as table
from safelight.server.security.principal import Principal, Role
from safelight.server.security.sessions import LIFETIME, MAX_PER_KEY, SessionStore
from safelight.settings import Settings

NOW = datetime(2033, 5, 18, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def engine(database_settings: Settings) -> Iterator[Engine]:
    """An empty database with the tables of keys and sessions, in SQLite and in PostgreSQL."""
    engine = open_database(database_settings)
    migrate(engine, [SCHEMA])
    yield engine
    engine.dispose()


@pytest.fixture
def keys(engine: Engine) -> KeyStore:
    return KeyStore(engine)


@pytest.fixture
def sessions(engine: Engine, keys: KeyStore) -> SessionStore:
    return SessionStore(engine, keys)


def id_of(keys: KeyStore, name: str, role: Role = Role.USER) -> str:
    """The id of a new key."""
    return str(keys.authenticate(keys.add(name, role)).key_id)


def count_sessions(engine: Engine) -> int:
    with read_transaction(engine) as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_a_session_identifies_the_owner_of_its_key(keys: KeyStore, sessions: SessionStore) -> None:
    anna, root = id_of(keys, "anna"), id_of(keys, "root", Role.ADMIN)
    first, second = sessions.open(anna), sessions.open(root)
    assert sessions.authenticate(first) == Principal("anna", Role.USER, anna)
    assert sessions.authenticate(second) == Principal("root", Role.ADMIN, root)


def test_only_the_tokens_digest_is_stored(keys: KeyStore, sessions: SessionStore, engine: Engine) -> None:
    token = sessions.open(id_of(keys, "anna"))
    assert len(token) == 43
    with read_transaction(engine) as connection:
        row = connection.execute(select(table)).mappings().one()
    assert all(token not in str(value) for value in row.values())


def test_invalid_tokens(keys: KeyStore, sessions: SessionStore) -> None:
    token = sessions.open(id_of(keys, "anna"))
    for wrong in ("", "x", token[:-1], token + "a", token.swapcase(), "\ud800", "x" * 10_000):
        with pytest.raises(KeyRequiredError, match="not signed in"):
            sessions.authenticate(wrong)
        assert not sessions.close(wrong)
    assert sessions.authenticate(token).owner == "anna"


def test_a_session_expires(keys: KeyStore, sessions: SessionStore) -> None:
    token = sessions.open(id_of(keys, "anna"), NOW)
    assert sessions.authenticate(token, NOW + LIFETIME - SECOND).owner == "anna"
    with pytest.raises(KeyRequiredError):
        sessions.authenticate(token, NOW + LIFETIME)


def test_a_session_ends_with_its_key(keys: KeyStore, sessions: SessionStore) -> None:
    token = sessions.open(id_of(keys, "anna"))
    keys.revoke("anna")
    keys.add("anna")
    with pytest.raises(KeyRequiredError):
        sessions.authenticate(token)


def test_a_closed_session_is_refused(keys: KeyStore, sessions: SessionStore) -> None:
    anna = id_of(keys, "anna")
    first, second = sessions.open(anna), sessions.open(anna)
    assert sessions.close(first) == "anna"
    assert sessions.close(first) is None
    with pytest.raises(KeyRequiredError):
        sessions.authenticate(first)
    assert sessions.authenticate(second).owner == "anna"


def test_expired_sessions_are_deleted(keys: KeyStore, sessions: SessionStore, engine: Engine) -> None:
    anna, berta = id_of(keys, "anna"), id_of(keys, "berta")
    sessions.open(berta, NOW)
    sessions.open(anna, NOW - LIFETIME)
    keys.revoke("berta")
    assert count_sessions(engine) == 2
    sessions.open(anna, NOW)
    assert count_sessions(engine) == 1


def test_sessions_of_a_key_are_limited(keys: KeyStore, sessions: SessionStore, engine: Engine) -> None:
    anna, berta = id_of(keys, "anna"), id_of(keys, "berta")
    others = sessions.open(berta, NOW - SECOND)
    tokens = [sessions.open(anna, NOW + number * SECOND) for number in range(MAX_PER_KEY + 2)]
    assert count_sessions(engine) == MAX_PER_KEY + 1
    for over in tokens[:2]:
        with pytest.raises(KeyRequiredError):
            sessions.authenticate(over, NOW)
    assert {sessions.authenticate(token, NOW).owner for token in tokens[2:]} == {"anna"}
    assert sessions.authenticate(others, NOW).owner == "berta"


def test_using_a_session_records_the_keys_use(
    keys: KeyStore, sessions: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = sessions.open(id_of(keys, "anna"))
    before = keys.all()[0].used
    monkeypatch.setattr("safelight.server.security.keys.LAST_USE_INTERVAL", -SECOND)
    time.sleep(0.01)
    sessions.authenticate(token)
    assert keys.all()[0].used != before


def test_a_session_lasts_a_month() -> None:
    assert timedelta(days=30) == module.LIFETIME


def test_a_clock_that_is_set_forward_ends_no_session(
    engine: Engine, keys: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    sessions = SessionStore(engine, keys, ExpiryClock(seconds_ago(0)).at)
    token = sessions.open(id_of(keys, "anna"))
    monkeypatch.setattr(time, "time", lambda: now + 60 * 86400)
    assert sessions.authenticate(token).owner == "anna"
    other = sessions.open(id_of(keys, "bert"))  # which deletes expired sessions
    assert sessions.authenticate(token).owner == "anna"
    monkeypatch.setattr(time, "time", lambda: now)
    assert sessions.authenticate(other).owner == "bert"
