"""Bytes in the database under the name of their content: what workers on other hosts must be able to read."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Column, Connection, LargeBinary, Select, String, Table, delete, exists, select

from safelight.database.inserting import insert_into
from safelight.database.schema import METADATA, Schema
from safelight.database.types import Instant
from safelight.errors import BlobMissingError

blobs = Table(
    "blobs",
    METADATA,
    Column("digest", String(64), primary_key=True),  # SHA-256 of the data, in hexadecimal
    Column("created", Instant, nullable=False, index=True),  # when it was last put
    Column("data", LargeBinary, nullable=False),
)
SCHEMA = Schema.read("blobs", Path(__file__).parent / "migrations")


def put(connection: Connection, data: bytes) -> str:
    """Keep bytes; the same bytes are kept once. In the transaction of whatever refers to them.

    Returns:
        Their SHA-256, in hexadecimal.
    """
    digest, now = hashlib.sha256(data).hexdigest(), datetime.now(UTC)
    insert = insert_into(connection, blobs).values(digest=digest, created=now, data=data)
    # touching the row also keeps it from a ``delete_unreferenced`` that runs at this moment
    connection.execute(insert.on_conflict_do_update(index_elements=["digest"], set_={"created": now}))
    return digest


def get(connection: Connection, digest: str) -> bytes:
    """The bytes of that SHA-256.

    Raises:
        BlobMissingError: They are not there.
    """
    data = connection.execute(select(blobs.c.data).where(blobs.c.digest == digest)).scalar()
    if data is None:
        raise BlobMissingError(f"There are no bytes with the SHA-256 {digest[:12]}….")
    return bytes(data)


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
