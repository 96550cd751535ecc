from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, event, select, update
from tests.times import seconds_ago

from safelight.database import migrate, open_database, read_transaction, write_transaction
from safelight.errors import KeyInvalidError, KeyNameError, QuotaError, StorageFullError
from safelight.server.security import keys as module
from safelight.server.security.keys import SCHEMA, SECONDS_PER_DAY, KeyStore
from safelight.server.security.principal import Principal, Role
from safelight.settings import Settings


@pytest.fixture
def engine(database_settings: Settings) -> Iterator[Engine]:
    """An empty database with the tables of keys, in SQLite and in PostgreSQL."""
    engine = open_database(database_settings)
    migrate(engine, [SCHEMA])
    yield engine
    engine.dispose()


@pytest.fixture
def keys(engine: Engine) -> KeyStore:
    return KeyStore(engine)


def test_a_key_identifies_its_owner(keys: KeyStore) -> None:
    assert not keys.has_any()
    key = keys.add("anna")
    admin = keys.add("root", Role.ADMIN)
    assert keys.has_any()
    (anna, root) = keys.all()
    assert keys.authenticate(key) == keys.authenticate(key, "anna") == Principal("anna", Role.USER, anna.id)
    assert keys.authenticate(admin) == Principal("root", Role.ADMIN, root.id)


def test_only_the_keys_digest_is_stored(keys: KeyStore, engine: Engine) -> None:
    key = keys.add("anna")
    assert len(key) > 60
    assert key.startswith("sl_")
    secret = key.rpartition("_")[2]
    with read_transaction(engine) as connection:
        row = connection.execute(select(module.keys)).mappings().one()
    assert all(secret not in str(value) for value in row.values())


def test_wrong_keys(keys: KeyStore) -> None:
    key, other = keys.add("anna"), keys.add("berta")
    mixed = key[: len("sl_") + 12] + other[len("sl_") + 12 :]
    changed = key[:-1] + ("a" if key[-1] != "a" else "b")
    for wrong in ("", "x", mixed, changed, key + " ", key.upper(), "sl_" + "0" * 12 + "_" + "a" * 52):
        with pytest.raises(KeyInvalidError):
            keys.authenticate(wrong)
    with pytest.raises(KeyInvalidError):
        keys.authenticate(key, "berta")


def test_a_revoked_key_is_refused_and_its_name_is_free(keys: KeyStore) -> None:
    key = keys.add("anna")
    assert keys.revoke("anna").revoked is not None
    with pytest.raises(KeyInvalidError):
        keys.authenticate(key)
    assert not keys.has_any()
    with pytest.raises(KeyNameError):
        keys.revoke("anna")
    assert keys.authenticate(keys.add("anna")).owner == "anna"
    assert [one.revoked is None for one in keys.all()] == [False, True]


@pytest.mark.parametrize("name", ["", "local", "a b", "Anna", "a" * 65, "../x", "a:b", "ä", "a\n"])
def test_invalid_names(keys: KeyStore, name: str) -> None:
    with pytest.raises(KeyNameError):
        keys.add(name)


def test_names_are_unique(keys: KeyStore) -> None:
    keys.add("anna")
    with pytest.raises(KeyNameError, match="already"):
        keys.add("anna")


def test_last_use_is_stored_by_the_minute(keys: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    key = keys.add("anna")
    assert keys.all()[0].used is None
    keys.authenticate(key)
    first = keys.all()[0].used
    keys.authenticate(key)
    assert keys.all()[0].used == first
    monkeypatch.setattr(module, "LAST_USE_INTERVAL", timedelta(seconds=-1))
    keys.authenticate(key)
    assert keys.all()[0].used != first


def test_a_quota_is_for_a_day(keys: KeyStore) -> None:
    key_id = keys.authenticate(keys.add("anna", pictures_per_day=10, megapixels_per_day=2)).key_id
    assert key_id is not None
    noon = datetime(2024, 10, 4, 12, tzinfo=UTC)
    keys.spend(key_id, 6, 1_000_000, noon)
    with pytest.raises(QuotaError) as caught:
        keys.spend(key_id, 5, 0, noon)
    assert caught.value.retry_after == SECONDS_PER_DAY / 2
    with pytest.raises(QuotaError):
        keys.spend(key_id, 1, 1_000_001, noon)
    keys.spend(key_id, 4, 1_000_000, noon)
    with pytest.raises(QuotaError):
        keys.spend(key_id, 1, 0, noon)
    keys.spend(key_id, 10, 0, noon + timedelta(days=1))
    with pytest.raises(QuotaError):
        keys.spend(key_id, 11, 0, noon + timedelta(days=2))


def test_without_a_quota_usage_is_counted_and_never_refused(keys: KeyStore, engine: Engine) -> None:
    key_id = keys.authenticate(keys.add("anna")).key_id
    assert key_id is not None
    keys.spend(key_id, 10**6, 10**12)
    with write_transaction(engine):  # it does not wait for the database's writer
        keys.spend(key_id, 1, 1)
    keys.flush()
    with read_transaction(engine) as connection:
        row = connection.execute(select(module.usage)).mappings().one()
    assert (row["pictures"], row["pixels"]) == (10**6 + 1, 10**12 + 1)


def test_the_last_picture_of_a_quota_is_given_once(keys: KeyStore) -> None:
    key_id = keys.authenticate(keys.add("anna", pictures_per_day=20)).key_id
    assert key_id is not None

    def spend(_: int) -> bool:
        try:
            keys.spend(key_id, 1, 0, datetime(2024, 10, 4, tzinfo=UTC))
        except QuotaError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(spend, range(40))) == 20


def test_refunded_usage_is_available_again(keys: KeyStore) -> None:
    key = keys.authenticate(keys.add("anna", pictures_per_day=3)).key_id
    assert key is not None
    now = datetime(2024, 10, 4, tzinfo=UTC)
    keys.spend(key, 3, 10, now)
    keys.refund(key, 2, 10, now)
    with pytest.raises(QuotaError):
        keys.spend(key, 3, 0, now)
    keys.spend(key, 2, 0, now)
    keys.refund(key, 1, 0, now + timedelta(days=1))  # yesterday's is not refunded to today
    keys.spend(key, 3, 0, now + timedelta(days=1))
    keys.refund(key, 4, 0, now + timedelta(days=1))
    with pytest.raises(QuotaError):
        keys.spend(key, 1, 0, now + timedelta(days=1))


@pytest.fixture
def stuck(keys: KeyStore, engine: Engine) -> Callable[[bool], None]:
    """Make the database refuse writes, as on a full disk, or accept them again."""

    def switch(on: bool) -> None:
        (event.listen if on else event.remove)(engine, "before_cursor_execute", only_writes)

    def only_writes(_: object, __: object, statement: str, *___: object) -> None:
        if statement.startswith(("INSERT", "UPDATE", "DELETE")):
            raise StorageFullError

    return switch


def test_on_a_full_disk_keys_are_verified_and_usage_is_written_later(
    keys: KeyStore, engine: Engine, stuck: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, bert = keys.add("anna"), keys.add("bert")
    stuck(True)
    assert keys.authenticate(anna).owner == "anna"
    assert keys.authenticate(anna).owner == "anna"
    assert [key.used for key in keys.all()] == [None, None]
    stuck(False)
    keys.authenticate(bert)
    assert None not in [key.used for key in keys.all()]


def test_on_a_full_disk_usage_is_counted_and_quotas_hold(
    keys: KeyStore, engine: Engine, stuck: Callable[[bool], None]
) -> None:
    key = keys.authenticate(keys.add("anna", pictures_per_day=10)).key_id
    free = keys.authenticate(keys.add("bert")).key_id
    assert key is not None
    assert free is not None
    now = datetime(2024, 10, 4, tzinfo=UTC)
    keys.spend(key, 3, 100, now)
    stuck(True)
    keys.spend(key, 4, 100, now)
    keys.spend(key, 2, 10, now)
    keys.refund(key, 2, 10, now)
    keys.spend(free, 10**6, 0, now)
    with pytest.raises(QuotaError):
        keys.spend(key, 4, 0, now)
    stuck(False)
    with pytest.raises(QuotaError):
        keys.spend(key, 4, 0, now)
    keys.spend(key, 3, 0, now)
    with read_transaction(engine) as connection:
        rows = {row["key_id"]: row["pictures"] for row in connection.execute(select(module.usage)).mappings()}
    assert rows == {key: 10, free: 10**6}


def test_a_clock_that_was_set_back_does_not_stop_usage_records(keys: KeyStore, engine: Engine) -> None:
    key = keys.add("anna")
    with write_transaction(engine) as connection:
        connection.execute(update(module.keys).values(used=seconds_ago(-7 * SECONDS_PER_DAY)))
    keys.authenticate(key)
    (known,) = keys.all()
    assert known.used is not None
    assert abs(known.used - seconds_ago(0)) < timedelta(minutes=1)


def test_times_of_a_key_as_json_are_seconds(keys: KeyStore) -> None:
    keys.authenticate(keys.add("anna", Role.ADMIN))
    (key,) = keys.all()
    body = key.to_dict()
    assert (body["created"], body["used"]) == (key.created.timestamp(), key.used and key.used.timestamp())
    assert (body["name"], body["role"], body["revoked"]) == ("anna", "admin", None)
