"""Embeddings of the gallery's pictures, each with the digest of the classifier that made it.

Vector stores are filled from here. Entries have numbers that are never reused, so a store can keep vectors by number,
compare its numbers with those of the gallery, add the missing ones and delete the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, RowMapping, insert, select

from safelight.gallery.entry import Embedding
from safelight.gallery.tables import embeddings, entries

UNKNOWN_CLASSIFIER = "unknown"
"""In place of a digest: the embedding was made by an unknown classifier, before digests were stored."""
_FLOAT32 = np.dtype("<f4")


@dataclass(frozen=True)
class StoredEmbedding:
    """An entry's embedding.

    Args:
        number: The entry's number; later entries have larger numbers, and none is reused.
        entry_id: The entry's id.
        owner: The entry's owner; None if it has none.
        embedding: The embedding.
    """

    number: int
    entry_id: str
    owner: str | None
    embedding: Embedding


def insert_embedding(connection: Connection, number: int, embedding: Embedding) -> None:
    """Insert the embedding of a new entry."""
    vector = np.ascontiguousarray(embedding.vector, dtype=_FLOAT32)
    values = {
        "number": number,
        "digest": embedding.digest,
        "classifier": embedding.classifier,
        "dimension": len(vector),
        "vector": vector.tobytes(),
    }
    connection.execute(insert(embeddings).values(**values))


def get_embedding(connection: Connection, number: int, digest: str) -> Embedding | None:
    """An entry's embedding by a classifier; None if it has none."""
    query = select(embeddings).where(embeddings.c.number == number, embeddings.c.digest == digest)
    row = connection.execute(query).mappings().first()
    return None if row is None else _to_embedding(row)


def list_embeddings(connection: Connection, digest: str, after: int, limit: int) -> Sequence[StoredEmbedding]:
    """A page of embeddings by one classifier, in the order of their entries' numbers.

    Args:
        connection: A connection to read with.
        digest: SHA-256 of the classifier's weights.
        after: The last number of the previous page.
        limit: Maximum number of embeddings.
    """
    query = (
        select(embeddings, entries.c.id, entries.c.owner)
        .join_from(embeddings, entries)
        .where(embeddings.c.digest == digest, embeddings.c.number > after)
        .order_by(embeddings.c.number)
        .limit(limit)
    )
    rows = connection.execute(query).mappings()
    return [StoredEmbedding(row["number"], row["id"], row["owner"], _to_embedding(row)) for row in rows]


def list_embedding_numbers(connection: Connection, digest: str, after: int, limit: int) -> Sequence[int]:
    """A page of the numbers of entries with an embedding by one classifier, in order."""
    query = select(embeddings.c.number).where(embeddings.c.digest == digest, embeddings.c.number > after)
    return connection.execute(query.order_by(embeddings.c.number).limit(limit)).scalars().all()


def _to_embedding(row: RowMapping) -> Embedding:
    vector = np.frombuffer(row["vector"], dtype=_FLOAT32).astype(np.float32)
    return Embedding(row["digest"], row["classifier"], vector)
