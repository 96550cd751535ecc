"""The tables of the queue, as SQLAlchemy statements use them; ``database/migrations/`` creates them."""

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
    text,
)

from safelight.database.schema import METADATA, Schema
from safelight.database.types import Instant

jobs = Table(
    "jobs",
    METADATA,
    Column("id", String(40), primary_key=True),
    Column("owner", String(200), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("state", String(20), nullable=False),
    Column("request", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("turn", Float, nullable=False),  # virtual time: see scheduling.py
    Column("cost", Float, nullable=False),
    Column("passed", Integer, nullable=False, default=0),  # how often another job has overtaken it
    Column("checkpoint", Text, nullable=False),
    Column("timeout", Float),  # seconds
    Column("idempotency_key", String(200)),
    Column("request_id", String(200), nullable=False),
    Column("created", Instant, nullable=False),
    Column("started", Instant),
    Column("ended", Instant),
    Column("expires", Instant),
    Column("attempt", Integer, nullable=False, default=0),
    Column("lost", Integer, nullable=False, default=0),  # workers lost in a row without progress
    Column("worker", String(200)),
    Column("lease", Instant),  # when the worker's claim expires; each heartbeat renews it
    Column("signal", String(20)),
    Column("progress", Text),
    Column("result", Text),
    Column("error", Text),
    Column("parent", String(22)),  # the gallery entry that its pictures are made from
    Column("summary", Text),  # the request in list form; null where that is the request itself
    Column("cleared", Instant),  # when it was left out of the lists, after it had ended
    UniqueConstraint("owner", "idempotency_key"),
    Index("jobs_by_turn", "state", text("priority DESC"), "turn", "id"),
    Index("jobs_by_owner", "owner", "created"),
    Index("jobs_by_owner_and_turn", "owner", "state", "turn"),
    Index("jobs_by_expiry", "expires"),
)

job_blobs = Table(
    "job_blobs",
    METADATA,
    Column("job_id", String(40), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("digest", String(64), primary_key=True, index=True),  # of a picture in its request
)

job_inputs = Table(
    "job_inputs",
    METADATA,
    Column("job_id", String(40), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("owner", String(200), nullable=False, index=True),
    Column("bytes", BigInteger, nullable=False),  # of all its pictures
)
"""The total size of the input pictures of each unfinished job."""

events = Table(
    "events",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("job_id", String(40), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("kind", String(20), nullable=False),
    Column("data", Text, nullable=False),
    Column("created", Instant, nullable=False),
    sqlite_autoincrement=True,  # an id is never reused, so a client can continue from its last one
)

previews = Table(
    "previews",
    METADATA,
    Column("job_id", String(40), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),  # WebP
)

virtual_clock = Table(
    "turn_clock",
    METADATA,
    Column("priority", Integer, primary_key=True, autoincrement=False),  # each priority is a queue of its own
    Column("turn", Float, nullable=False),
)

queue_state = Table(
    "queue_state",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),  # 1: there is one row
    Column("paused", Instant),  # since when no job starts
    Column("paused_by", String(200), nullable=False),
    Column("changes", Integer, nullable=False),  # see state.py
    Column("clears", Integer, nullable=False),
)

timings = Table(
    "timings",
    METADATA,
    Column("key", Text, primary_key=True),  # kind and checkpoint
    Column("seconds", Float, nullable=False),  # of one unit of a job's cost; a moving average
)

workers = Table(
    "workers",
    METADATA,
    Column("name", String(200), primary_key=True),
    Column("host", String(200), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("device", String(50), nullable=False),
    Column("precision", String(20), nullable=False, server_default=""),
    Column("backend", String(20), nullable=False, server_default=""),
    Column("why", Text, nullable=False, server_default=""),  # reasons for device, precision, backend
    Column("state", String(20), nullable=False),  # starting, loading, idle, busy
    Column("loading", Text),  # the checkpoint that is loaded now, or when the running jobs have ended
    Column("last_error", Text, nullable=False, server_default="null"),  # of the last load: JSON
    Column("checkpoints", Text, nullable=False),  # those in memory
    Column("memory", Float, nullable=False),  # bytes resident
    Column("memory_report", Text, nullable=False, server_default="null"),  # of device and pictures: JSON
    Column("started", Instant, nullable=False),
    Column("seen", Instant, nullable=False),
)

residency_commands = Table(
    "memory_orders",
    METADATA,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("checkpoint", Text, nullable=False),  # empty: all there are
    Column("load", Boolean, nullable=False),  # false: unload
    sqlite_autoincrement=True,  # a number is never reused: workers remember the last one
)

SCHEMA = Schema.read("jobs")
