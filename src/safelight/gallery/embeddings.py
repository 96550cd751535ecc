"""Embeddings of the gallery's pictures: each is kept with what says which classifier made it.

Vector stores are filled from here. Entries have numbers that are never given twice, so a store keeps vectors by number
and compares the numbers it has with those that are here: it adds what it lacks and drops what is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, RowMapping, insert, select

from safelight.gallery.entry import Embedding
from safelight.gallery.tables import embeddings, entries

UNKNOWN = "unknown"
"""In the place of a digest: made before digests were kept, by a classifier that nothing tells of."""
_FLOAT32 = np.dtype("<f4")


@dataclass(frozen=True)
class StoredEmbedding:
    """An entry's embedding.

    Args:
        number: The entry's; later entries have larger ones, and none is given twice.
        entry_id: The entry's id.
        owner: Whose entry it is; None for nobody's.
        embedding: The embedding.
    """

    number: int
    entry_id: str
    owner: str | None
    embedding: Embedding


def put_embedding(connection: Connection, number: int, embedding: Embedding) -> None:
    """Write down the embedding of a new entry."""
    vector = np.ascontiguousarray(embedding.vector, dtype=_FLOAT32)
    values = {
        "number": number,
        "digest": embedding.digest,
        "classifier": embedding.classifier,
        "dimension": len(vector),
        "vector": vector.tobytes(),
    }
    connection.execute(insert(embeddings).values(**values))


def embedding_of(connection: Connection, number: int, digest: str) -> Embedding | None:
    """An entry's embedding by one classifier; None where there is none."""
    query = select(embeddings).where(embeddings.c.number == number, embeddings.c.digest == digest)
    row = connection.execute(query).mappings().first()
    return None if row is None else _embedding(row)


def page_of_embeddings(
    connection: Connection, digest: str, after: int, limit: int
) -> Sequence[StoredEmbedding]:
    """Embeddings by one classifier, by the numbers of their entries.

    Args:
        connection: To read with.
        digest: SHA-256 of the classifier's weights.
        after: The number of the last one that is known already.
        limit: At most so many.
    """
    query = (
        select(embeddings, entries.c.id, entries.c.owner)
        .join_from(embeddings, entries)
        .where(embeddings.c.digest == digest, embeddings.c.number > after)
        .order_by(embeddings.c.number)
        .limit(limit)
    )
    rows = connection.execute(query).mappings()
    return [StoredEmbedding(row["number"], row["id"], row["owner"], _embedding(row)) for row in rows]


def page_of_numbers(connection: Connection, digest: str, after: int, limit: int) -> Sequence[int]:
    """The numbers of the entries with embeddings by one classifier, in order; arguments as in the other page."""
    query = select(embeddings.c.number).where(embeddings.c.digest == digest, embeddings.c.number > after)
    return connection.execute(query.order_by(embeddings.c.number).limit(limit)).scalars().all()


def _embedding(row: RowMapping) -> Embedding:
    vector = np.frombuffer(row["vector"], dtype=_FLOAT32).astype(np.float32)
    return Embedding(row["digest"], row["classifier"], vector)
