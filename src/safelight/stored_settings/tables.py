"""The tables, as SQLAlchemy statements use them; ``database/migrations/`` creates them."""

from __future__ import annotations

from sqlalchemy import Column, String, Table, Text

from safelight.database.schema import METADATA, Schema
from safelight.database.types import Instant

CHANNEL = "settings"
"""The channel of notifications about changes of settings."""

runtime_settings = Table(
    "runtime_settings",
    METADATA,
    Column("name", String(100), primary_key=True),
    Column("value", Text, nullable=False),  # JSON
    Column("changed", Instant, nullable=False),
    Column("changed_by", String(200), nullable=False),
)

preferences = Table(
    "preferences",
    METADATA,
    Column("owner", String(200), primary_key=True),
    Column("value", Text, nullable=False),  # JSON: only what was set
    Column("changed", Instant, nullable=False),
)

adapter_favourites = Table(
    "adapter_favourites",
    METADATA,
    Column("owner", String(200), primary_key=True),
    Column("kind", String(20), primary_key=True),  # LoRA or embedding
    Column("place", Text, primary_key=True),  # below its folder of models, without suffix
)

SCHEMA = Schema.read("settings")
