"""Bytes in the database, addressed by their digest, so that workers on other hosts can read them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Column, Connection, LargeBinary, Select, String, Table, delete, exists, select

from safelight.database.coordination import now
from safelight.database.schema import METADATA, Schema
from safelight.database.types import Instant
from safelight.database.upsert import insert_into
from safelight.errors import BlobMissingError

blobs = Table(
    "blobs",
    METADATA,
    Column("digest", String(64), primary_key=True),  # SHA-256 of the data, in hexadecimal
    Column("created", Instant, nullable=False, index=True),  # when it was last put
    Column("data", LargeBinary, nullable=False),
)
SCHEMA = Schema.read("blobs")


def put(connection: Connection, data: bytes) -> str:
    """Store bytes, in the transaction that stores a reference to them. The same bytes are stored once.

    Returns:
        Their SHA-256, in hexadecimal.
    """
    digest = digest_of(data)
    put_many(connection, {digest: data})
    return digest


def digest_of(data: bytes) -> str:
    """SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def put_many(connection: Connection, contents: Mapping[str, bytes]) -> None:
    """Store bytes with known digests, as ``put`` does.

    Args:
        connection: The transaction that stores references to them.
        contents: The bytes by digest.
    """
    if not contents:
        return
    stored_at = now(connection)
    for digest in sorted(contents):  # in a fixed order, so that two transactions cannot deadlock
        insert = insert_into(connection, blobs).values(
            digest=digest, created=stored_at, data=contents[digest]
        )
        # the update also protects the row from a concurrent ``delete_unreferenced``
        connection.execute(
            insert.on_conflict_do_update(index_elements=["digest"], set_={"created": stored_at})
        )


def get(connection: Connection, digest: str) -> bytes:
    """The bytes with a SHA-256.

    Raises:
        BlobMissingError: They do not exist.
    """
    data = connection.execute(select(blobs.c.data).where(blobs.c.digest == digest)).scalar()
    if data is None:
        raise BlobMissingError(f"There are no bytes with the SHA-256 {digest[:12]}….")
    return bytes(data)


def release(connection: Connection, digests: Select[tuple[str]], references: Select[tuple[str]]) -> int:
    """Delete bytes at once, unless there are other references.

    Args:
        connection: A writing transaction.
        digests: Selects the digests of the bytes.
        references: Selects the digests that have other references.

    Returns:
        The number of deleted blobs.
    """
    condition = blobs.c.digest.in_(digests)
    # A transaction that stores the same bytes waits for this one, or this one for it. The references are selected
    # by a later statement, which sees what was committed meanwhile.
    connection.execute(select(blobs.c.digest).where(condition).order_by(blobs.c.digest).with_for_update())
    needed = references.subquery()
    referenced = exists().where(needed.c[0] == blobs.c.digest)
    return connection.execute(delete(blobs).where(condition, ~referenced)).rowcount


def delete_unreferenced(connection: Connection, references: Select[tuple[str]], before: datetime) -> int:
    """Delete bytes without references.

    Args:
        connection: A writing transaction.
        references: Selects the digests that have references.
        before: Bytes that were stored later are kept: their reference may not be committed yet.

    Returns:
        The number of deleted blobs.
    """
    needed = references.subquery()
    referenced = exists().where(needed.c[0] == blobs.c.digest)
    return connection.execute(delete(blobs).where(blobs.c.created < before, ~referenced)).rowcount
