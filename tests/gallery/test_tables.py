from __future__ import annotations

from sqlalchemy import Connection, Engine, event, inspect, select

from safelight.database import write_transaction
from safelight.gallery.tables import details, entries, keys, tags


def test_migrated_tables_are_the_declared_ones(engine: Engine):
    found = inspect(engine)
    for table in (entries, details, tags):
        columns = {column["name"]: column["nullable"] for column in found.get_columns(table.name)}
        assert columns == {column.name: column.nullable for column in table.c}
    assert found.has_table("entry_words")


def test_keys_are_looked_up_in_their_index(engine: Engine):
    plans: list[str] = []

    def explain(connection: Connection, _: object, statement: str, values: object, *__: object) -> None:
        if statement.startswith("SELECT"):
            word = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
            plans.append(" ".join(map(str, connection.exec_driver_sql(f"{word} {statement}", values))))

    with write_transaction(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # which is best for empty tables
        event.listen(connection, "before_cursor_execute", explain)
        connection.execute(select(entries.c.number).where(keys == "x"))
    assert "entries_by_key" in plans[0]
