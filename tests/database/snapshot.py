"""Snapshots of released databases, with rows in every table, which ``test_migrations.py`` migrates.

At each release:

    python -m tests.database.snapshot 0.3.0

writes ``snapshots/0.3.0.sqlite.sql`` and ``snapshots/0.3.0.postgresql.sql``: the migrations of this version, and rows
that its own code has written. A snapshot is never changed afterwards.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, insert, inspect, text
from tests.database.schema_dump import tables_of
from tests.gallery.conftest import new_entry
from tests.postgres import empty_database, running_server

from safelight.database import Migration, migrate, open_database, read_transaction, write_transaction
from safelight.database.coordination import now
from safelight.errors import RequestError
from safelight.gallery import BulkChange, Embedding, Gallery, Relation
from safelight.jobs.job import JobKind, Progress, Signal, Submission
from safelight.jobs.payloads import parse_request, store_request
from safelight.jobs.queue.commands import issue_command
from safelight.jobs.queue.store import JobStore
from safelight.jobs.queue.tables import workers
from safelight.jobs.queue_service import SCHEMAS
from safelight.moderation.policy import Decision
from safelight.server.security.keys import SCHEMA as KEYS
from safelight.server.security.keys import KeyStore
from safelight.server.security.sessions import SessionStore
from safelight.settings import Settings
from safelight.stored_settings.adapter_favourites import AdapterFavourites
from safelight.stored_settings.preferences import PreferenceStore
from safelight.stored_settings.runtime import RuntimeSettings

ALL = (*SCHEMAS, KEYS)
FOLDER = Path(__file__).parent / "snapshots"


def snapshot_names() -> list[str]:
    """The versions that have snapshots."""
    return sorted(path.name.removesuffix(".sqlite.sql") for path in FOLDER.glob("*.sqlite.sql"))


def restore(engine: Engine, name: str) -> None:
    """Restore a version's snapshot into an empty database."""
    statements = (FOLDER / f"{name}.{engine.dialect.name}.sql").read_text(encoding="utf-8")
    with write_transaction(engine) as connection:
        Migration.for_all_dialects(statements).run(connection)


def take_snapshot(engine: Engine, home: Path) -> str:
    """Fill an empty database and dump it as SQL."""
    migrate(engine, ALL)
    fill_tables(engine, home)
    parts = [_snapshot_text(migration, engine) for schema in ALL for migration in schema.migrations]
    with read_transaction(engine) as connection:
        return "\n\n".join([_versions(connection), *parts, *_insert_statements(connection)]) + "\n"


def fill_tables(engine: Engine, home: Path) -> None:
    """Write rows into every table with this version's own code."""
    _fill_jobs(engine)
    _fill_gallery(engine, home)
    RuntimeSettings(engine, Settings(home=home)).change({"queue_capacity": 500}, "anna")
    PreferenceStore(engine).change("anna", {"look": "dark"})
    AdapterFavourites(engine).mark("anna", "LoRA", "styles/ink", favourite=True)
    keys = KeyStore(engine)
    key_id = keys.authenticate(keys.add("anna", pictures_per_day=100, megapixels_per_day=250.5)).key_id
    assert key_id is not None
    keys.spend(key_id, 3, 786_432)
    keys.add("bert")
    keys.revoke("bert")
    SessionStore(engine, keys).open(key_id)


def _fill_jobs(engine: Engine) -> None:
    store = JobStore(engine)

    def submit(kind: JobKind, key: str | None = None, **fields: object) -> str:
        request, pictures = store_request(parse_request(kind, fields))
        checkpoint = "starter" if kind is JobKind.GENERATE else ""
        given = Submission(
            kind=kind,
            request=request,
            owner="anna",
            idempotency_key=key,
            checkpoint=checkpoint,
            request_id="r-1",
        )
        return store.submit(given, pictures).id

    for seed in range(2):
        submit(JobKind.GENERATE, prompt=f"a red apple, {seed}", seed=seed)
        job = store.claim("here:cpu:0")
        assert job is not None
        if seed:
            store.fail(job, RequestError("0 steps are too few; it's no error of ours."))
        else:
            store.succeed(job, {"pictures": [{"id": "1", "url": None, "scores": {"sfw": 0.875}}]}, 1.5)
    store.send_signal(submit(JobKind.UPSCALE, image=b"a picture"), Signal.CANCEL)
    submit(JobKind.GENERATE, prompt="a kitchen; a table\nand 'chairs' \\ 100 %", seed=7)
    job = store.claim("here:cpu:0")
    assert job is not None
    store.report(
        job, Progress(stage="first pass", step=3, steps=20, fraction=0.15, seconds=0.5), b"\x00webp\xff"
    )
    submit(JobKind.GENERATE, "again-1", prompt="ein grüner Apfel", init_image=b"another picture")
    submit(JobKind.SCAN, images=[b"one", b"two", b"one"])
    with write_transaction(engine) as connection:
        issue_command(connection, "starter", load=True)
        connection.execute(
            insert(workers).values(
                name="here:cpu:0",
                host="here",
                pid=1234,
                device="cpu",
                precision="fp32",
                backend="eager",
                why="There is no GPU.",
                state="busy",
                last_error="null",
                checkpoints='["starter"]',
                memory=1.25e9,
                started=now(connection),
                seen=now(connection),
            )
        )


def _fill_gallery(engine: Engine, home: Path) -> None:
    gallery = Gallery(engine, home)
    vector = np.linspace(-1, 1, 8, dtype=np.float32)
    first, second = (Embedding("cd" * 32, "open-nsfw", factor * vector) for factor in (1, 2))
    parent = gallery.add(new_entry(1, embedding=first, tags=("fruit", "red"), favourite=True))
    gallery.add(new_entry(2, "a green pear; it's ripe", decision=Decision.REVIEW, embedding=second))
    gallery.add(new_entry(3, "a blocked one", decision=Decision.BLOCK, embedding=first))
    gallery.add(
        new_entry(4, "without any", adapters=("ef" * 32,), parent_id=parent.id, relation=Relation.UPSCALE)
    )
    collection = gallery.collections.add("apples", "anna")
    gallery.annotate_many([parent.id], BulkChange(add_to=(collection.id,)))
    gallery.delete(gallery.add(new_entry(5, "deleted", embedding=first)).id)


def _versions(connection: Connection) -> str:
    """The table of the migrations that a database has had."""
    if connection.dialect.name == "sqlite":
        found = connection.execute(text("SELECT sql FROM sqlite_master WHERE name = 'schema_versions'"))
        return f"{found.scalar_one()};"
    return "CREATE TABLE schema_versions (part VARCHAR(40) NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (part));"


def _snapshot_text(migration: Migration, engine: Engine) -> str:
    own = migration.postgresql if engine.dialect.name == "postgresql" else migration.sqlite
    return own.strip()


def _insert_statements(connection: Connection) -> Iterator[str]:
    """Statements that insert all rows; tables that others refer to come first."""
    for table in tables_of(connection):
        columns = [column["name"] for column in inspect(connection).get_columns(table)]
        if table == "entry_words" and connection.dialect.name == "sqlite":
            columns = ["rowid", "prompt", "negative", "rest"]
        shown = ", ".join(f'"{column}"' for column in columns)
        for row in connection.execute(text(f"SELECT {shown} FROM {table} ORDER BY 1")):
            values = ", ".join(_literal(value, connection.dialect.name) for value in row)
            yield f"INSERT INTO {table} ({shown}) VALUES ({values});"
    yield from _sequence_statements(connection)


def _sequence_statements(connection: Connection) -> Iterator[str]:
    """Statements that set sequences to their current values."""
    if connection.dialect.name == "sqlite":
        yield "DELETE FROM sqlite_sequence;"
        for name, last in connection.execute(text("SELECT name, seq FROM sqlite_sequence ORDER BY name")):
            yield f"INSERT INTO sqlite_sequence (name, seq) VALUES ('{name}', {last});"
        return
    query = "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'public' ORDER BY 1"
    for name, last in connection.execute(text(query)):
        if last is not None:
            yield f"SELECT setval('{name}', {last});"


def _literal(value: object, dialect: str) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, bytes | memoryview):
        digits = bytes(value).hex()
        return f"'\\x{digits}'" if dialect == "postgresql" else f"X'{digits}'"
    quoted = str(value).replace("'", "''")
    return f"'{quoted}'"


@contextmanager
def _databases(home: Path) -> Iterator[dict[str, Settings]]:
    with running_server() as server, empty_database(server) as url:
        yield {
            "sqlite": Settings(home=home / "sqlite"),
            "postgresql": Settings(home=home / "postgresql", database=SecretStr(url)),
        }


def main(name: str) -> None:
    """Write both snapshots."""
    with tempfile.TemporaryDirectory() as home, _databases(Path(home)) as databases:
        for dialect, settings in databases.items():
            target = FOLDER / f"{name}.{dialect}.sql"
            if target.exists():
                sys.exit(f"{target} is there already, and stays as it is.")
            engine = open_database(settings)
            target.write_text(
                f"-- The database as {name} made it. It stays as it is.\n\n{take_snapshot(engine, settings.home)}"
            )
            engine.dispose()
            sys.stdout.write(f"{target}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
