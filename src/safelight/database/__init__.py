"""The one database of Safelight: SQLite in the data directory, or PostgreSQL."""

from safelight.database.engine import open_database, read_transaction, write_transaction
from safelight.database.schema import METADATA, Migration, Schema, migrate

__all__ = [
    "METADATA",
    "Migration",
    "Schema",
    "migrate",
    "open_database",
    "read_transaction",
    "write_transaction",
]
