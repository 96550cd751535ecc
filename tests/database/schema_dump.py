"""The structure of a database, for comparison: tables, columns, constraints, indexes, triggers; in any order."""

from __future__ import annotations

from sqlalchemy import Connection, inspect

Structure = dict[str, list[str]]


def structure(connection: Connection) -> Structure:
    """The elements of each table, a line each, sorted."""
    lines = (
        _dump_postgresql(connection) if connection.dialect.name == "postgresql" else _dump_sqlite(connection)
    )
    found: Structure = {}
    for table, line in sorted(lines):
        found.setdefault(table, []).append(line)
    return found


def tables_of(connection: Connection) -> list[str]:
    """The tables that hold rows, referenced tables first; without the internal tables of full-text search."""
    found = [table for table in inspect(connection).get_sorted_table_and_fkc_names() if table[0] is not None]
    names = [str(name) for name, _ in found]
    return [name for name in names if not name.startswith(("entry_words_", "sqlite_"))]


def _dump_sqlite(connection: Connection) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    for kind, table, sql in _fetch_all(
        connection, "SELECT type, tbl_name, sql FROM sqlite_master WHERE sql NOT NULL"
    ):
        if kind == "trigger" or (kind == "table" and "VIRTUAL" in sql):
            lines.append((table, " ".join(sql.split())))
        if kind == "table":
            lines.append((table, f"counts up: {'AUTOINCREMENT' in sql}"))
            lines += [
                (table, f"column {row[1:]}")
                for row in _fetch_all(connection, f"PRAGMA table_xinfo('{table}')")
            ]
            references = _fetch_all(connection, f"PRAGMA foreign_key_list('{table}')")
            lines += [(table, f"reference {row[1:]}") for row in references]
            lines += [(table, index) for index in _dump_indexes(connection, table)]
    return lines


def _dump_indexes(connection: Connection, table: str) -> list[str]:
    found = []
    for _, name, unique, origin, partial in _fetch_all(connection, f"PRAGMA index_list('{table}')"):
        parts = [(*row[2:],) for row in _fetch_all(connection, f"PRAGMA index_xinfo('{name}')")]
        sql = (
            connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).scalar() or ""
        )
        shown = name if origin == "c" else ""  # others are numbered in the order of their creation
        found.append(f"index {shown} {unique} {origin} {partial} {parts} {' '.join(sql.split())}")
    return found


def _dump_postgresql(connection: Connection) -> list[tuple[str, str]]:
    columns = """
        SELECT c.relname, format('column %s %s %s %s', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
            pg_get_expr(d.adbin, d.adrelid))
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped AND c.relnamespace = 'public'::regnamespace"""
    constraints = """
        SELECT conrelid::regclass::text, format('constraint %s %s', conname, pg_get_constraintdef(oid))
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace"""
    indexes = "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'"
    triggers = "SELECT tgrelid::regclass::text, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal"
    queries = (columns, constraints, indexes, triggers)
    return [(table, line) for query in queries for table, line in _fetch_all(connection, query)]


def _fetch_all(connection: Connection, query: str) -> list[tuple[str, ...]]:
    return [tuple(row) for row in connection.exec_driver_sql(query)]
