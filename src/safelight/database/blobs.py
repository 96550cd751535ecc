"""Bytes in the database under the name of their content: what workers on other hosts must be able to read."""

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
    """Keep bytes; the same bytes are kept once. In the transaction of whatever refers to them.

    Returns:
        Their SHA-256, in hexadecimal.
    """
    digest = digest_of(data)
    keep(connection, {digest: data})
    return digest


def digest_of(data: bytes) -> str:
    """The name of bytes: their SHA-256, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def keep(connection: Connection, contents: Mapping[str, bytes]) -> None:
    """Keep bytes whose digests are known, as ``put`` does.

    Args:
        connection: The transaction of whatever refers to them.
        contents: Bytes by their digest.
    """
    if not contents:
        return
    put_at = now(connection)
    for digest in sorted(contents):  # in one order, so that two transactions cannot lock crosswise
        insert = insert_into(connection, blobs).values(digest=digest, created=put_at, data=contents[digest])
        # touching the row also keeps it from a ``delete_unreferenced`` that runs at this moment
        connection.execute(insert.on_conflict_do_update(index_elements=["digest"], set_={"created": put_at}))


def get(connection: Connection, digest: str) -> bytes:
    """The bytes of that SHA-256.

    Raises:
        BlobMissingError: They are not there.
    """
    data = connection.execute(select(blobs.c.data).where(blobs.c.digest == digest)).scalar()
    if data is None:
        raise BlobMissingError(f"There are no bytes with the SHA-256 {digest[:12]}….")
    return bytes(data)


def release(connection: Connection, digests: Select[tuple[str]], references: Select[tuple[str]]) -> int:
    """Delete bytes that are no longer needed, at once.

    Args:
        connection: A writing transaction.
        digests: Selects which.
        references: Selects the digests that are still needed by others.

    Returns:
        How many were deleted.
    """
    mine = blobs.c.digest.in_(digests)
    # Whoever puts the same bytes now waits for this transaction, or this one for theirs; what is needed is looked up
    # by a statement of its own, which sees what was committed meanwhile.
    connection.execute(select(blobs.c.digest).where(mine).order_by(blobs.c.digest).with_for_update())
    needed = references.subquery()
    referenced = exists().where(needed.c[0] == blobs.c.digest)
    return connection.execute(delete(blobs).where(mine, ~referenced)).rowcount


def delete_unreferenced(connection: Connection, references: Select[tuple[str]], before: datetime) -> int:
    """Delete what nothing refers to.

    Args:
        connection: A writing transaction.
        references: Selects the digests that are still needed.
        before: What was put since then stays: its reference may be on its way.

    Returns:
        How many were deleted.
    """
    needed = references.subquery()
    referenced = exists().where(needed.c[0] == blobs.c.digest)
    return connection.execute(delete(blobs).where(blobs.c.created < before, ~referenced)).rowcount
