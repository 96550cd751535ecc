from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Column, Engine, MetaData, String, Table, create_engine, insert, select

from safelight.database import Migration, Schema, blobs, migrate, read_transaction, write_transaction
from safelight.errors import BlobMissingError

holders = Table("test_holders", MetaData(), Column("digest", String(64)))
HOLDERS = Schema("holders", (Migration.for_all_dialects("CREATE TABLE test_holders (digest VARCHAR(64));"),))


@pytest.fixture
def store(engine: Engine) -> Engine:
    migrate(engine, [blobs.SCHEMA, HOLDERS])
    return engine


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=1)


def delete_unreferenced(engine: Engine, before: datetime) -> int:
    with write_transaction(engine) as connection:
        return blobs.delete_unreferenced(connection, select(holders.c.digest), before)


def put_blob(engine: Engine, data: bytes) -> str:
    with write_transaction(engine) as connection:
        return blobs.put(connection, data)


@pytest.mark.parametrize("data", [b"", b"\0\xff" * 3, bytes(range(256)) * 5000])
def test_bytes_are_returned_by_their_digest(store: Engine, data: bytes):
    digest = put_blob(store, data)
    assert digest == hashlib.sha256(data).hexdigest()
    with read_transaction(store) as connection:
        found = blobs.get(connection, digest)
    assert type(found) is bytes
    assert found == data


def test_equal_bytes_are_stored_once(store: Engine):
    assert put_blob(store, b"same") == put_blob(store, b"same") != put_blob(store, b"other")
    with read_transaction(store) as connection:
        assert len(connection.execute(select(blobs.blobs.c.digest)).all()) == 2


@pytest.mark.parametrize("digest", ["0" * 64, "", "no digest"])
def test_an_unknown_digest(store: Engine, digest: str):
    with pytest.raises(BlobMissingError) as caught, read_transaction(store) as connection:
        blobs.get(connection, digest)
    assert caught.value.http_status == 404


def test_unreferenced_blobs_are_deleted_unless_they_are_new(store: Engine):
    held, loose = put_blob(store, b"held"), put_blob(store, b"loose")
    with write_transaction(store) as connection:
        connection.execute(insert(holders), [{"digest": held}, {"digest": None}])
    assert delete_unreferenced(store, datetime.now(UTC) - timedelta(hours=1)) == 0
    assert delete_unreferenced(store, soon()) == 1
    with read_transaction(store) as connection:
        assert blobs.get(connection, held) == b"held"
        with pytest.raises(BlobMissingError):
            blobs.get(connection, loose)


def test_storing_again_makes_it_new(store: Engine):
    put_blob(store, b"again")
    between = datetime.now(UTC)
    put_blob(store, b"again")
    assert delete_unreferenced(store, between) == 0
    assert delete_unreferenced(store, soon()) == 1


def test_a_blob_stored_again_during_its_deletion_stays(postgres_url: str):
    engine = create_engine(postgres_url.replace("postgresql:", "postgresql+psycopg:"))
    migrate(engine, [blobs.SCHEMA, HOLDERS])
    put_blob(engine, b"old")
    between = datetime.now(UTC)
    deleted: list[int] = []
    with write_transaction(engine) as connection:
        digest = blobs.put(connection, b"old")
        thread = threading.Thread(target=lambda: deleted.append(delete_unreferenced(engine, between)))
        thread.start()
        thread.join(0.3)  # waits for the row's lock
        connection.execute(insert(holders).values(digest=digest))
    thread.join()
    assert deleted == [0]
    with read_transaction(engine) as connection:
        assert blobs.get(connection, digest) == b"old"
    engine.dispose()
