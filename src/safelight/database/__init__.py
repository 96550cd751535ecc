"""One database for everything Safelight keeps: SQLite in the data directory, or PostgreSQL."""

from safelight.database.engine import open_database, reading, writing
from safelight.database.schema import METADATA, Schema, create, migrate

__all__ = ["METADATA", "Schema", "create", "migrate", "open_database", "reading", "writing"]
