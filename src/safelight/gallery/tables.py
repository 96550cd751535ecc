"""The gallery's tables, as SQLAlchemy statements use them; ``database/migrations/`` creates them and ``entry_words``.

``entries`` has the columns that searches filter by and is deliberately small: any filter can scan it in milliseconds.
All other columns are in ``entry_details``.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    literal_column,
)

from safelight.database.schema import METADATA, Schema
from safelight.database.types import Instant

Number = BigInteger().with_variant(Integer, "sqlite")  # SQLite autoincrements INTEGER only

entries = Table(
    "entries",
    METADATA,
    Column("number", Number, primary_key=True),  # in the order in which entries are added
    Column("id", String(22), nullable=False, unique=True),
    Column("job_id", Text),
    Column("index", Integer, nullable=False),
    Column("owner", Text),
    Column("created", Instant, nullable=False, index=True),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("decision", String(10), nullable=False),
    Column("unsafe", Float),
    Column("mode", Text),
    Column("seed", BigInteger, index=True),
    Column("steps", Integer),
    Column("sampler", Text),
    Column("checkpoint", Text),
    Column("family", Text),
    Column("kind", String(10)),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64)),
    Column("missing", Boolean, nullable=False),
    Column("favourite", Boolean, nullable=False),
    Column("parent_id", ForeignKey("entries.id", ondelete="SET NULL")),  # what it was made from
    Column("relation", String(10)),  # how; kept when the parent is deleted
    UniqueConstraint("job_id", "index"),
    sqlite_autoincrement=True,  # a number is never reused, so that pages stay in order
)
keys = func.substr(entries.c.id, literal_column("10"))
"""The key in an id. The position is a literal: an index on an expression is used only for exactly that expression."""

Index("entries_by_key", keys, unique=True)
Index("entries_by_owner", entries.c.owner, entries.c.number)
Index("entries_by_parent", entries.c.parent_id)

details = Table(
    "entry_details",
    METADATA,
    Column("number", ForeignKey("entries.number", ondelete="CASCADE"), primary_key=True),
    Column("prompt", Text, nullable=False),
    Column("negative_prompt", Text, nullable=False),
    Column("infotext", Text),
    Column("record", Text),
    Column("checkpoint_digest", Text),
    Column("policy", Text),
    Column("scores", Text, nullable=False),  # JSON
)

tags = Table(
    "entry_tags",
    METADATA,
    Column("tag", String(64), primary_key=True),
    Column("number", ForeignKey("entries.number", ondelete="CASCADE"), primary_key=True, index=True),
)

entry_adapters = Table(
    "entry_adapters",
    METADATA,
    Column("digest", String(64), primary_key=True),  # SHA-256 of the file of a LoRA or textual inversion
    Column("number", ForeignKey("entries.number", ondelete="CASCADE"), primary_key=True, index=True),
)

collections = Table(
    "collections",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("name", String(100), nullable=False),
    Column("created", Instant, nullable=False),
    UniqueConstraint("owner", "name"),
)

collection_entries = Table(
    "collection_entries",
    METADATA,
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True),
    Column("number", ForeignKey("entries.number", ondelete="CASCADE"), primary_key=True, index=True),
)

embeddings = Table(
    "entry_embeddings",
    METADATA,
    Column("number", ForeignKey("entries.number", ondelete="CASCADE"), primary_key=True),
    Column("digest", String(64), primary_key=True),  # SHA-256 of the classifier's weights, or "unknown"
    Column("classifier", Text),  # its name; null where the digest is unknown
    Column("dimension", Integer, nullable=False),
    Column("vector", LargeBinary, nullable=False),  # float32, little-endian
    Index("entry_embeddings_by_digest", "digest", "number"),
)

gallery_changes = Table(
    "gallery_changes",
    METADATA,
    Column("number", Number, primary_key=True),
    Column("owner", Text),
    Column("changed", Text, nullable=False),  # ids of entries: JSON
    Column("deleted", Text, nullable=False),  # likewise
    Column("collections", Boolean, nullable=False),
    Column("created", Instant, nullable=False, index=True),
    sqlite_autoincrement=True,  # a number is never reused, so that readers miss none
)
"""Recent changes, which every server reads for its pages."""

SCHEMA = Schema.read("gallery")
