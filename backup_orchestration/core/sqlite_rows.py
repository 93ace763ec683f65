"""Rows of an SQLite database, counted alike when it is captured and when it has been restored."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

_TABLES = (
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    " AND sql LIKE 'CREATE TABLE %' ORDER BY name"
)
_LEAST_BYTES = 1 << 20
_MOST_BYTES = 1_000_000_000  # SQLite's own limit
_INSTRUCTIONS = 100_000


def distrust(database: sqlite3.Connection, size: int) -> None:
    """Before anything is read of a database that somebody else has made.

    Its schema can hold expressions (checks, generated columns, indexes) that are evaluated when rows are read.
    They must not call what has side effects, nor make values that are longer than the whole database.

    Args:
        database: just opened.
        size: bytes of its files.
    """
    database.execute("PRAGMA trusted_schema = OFF")
    database.execute("PRAGMA cell_size_check = ON")
    database.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, min(max(size, _LEAST_BYTES), _MOST_BYTES))
    # Signals, which end a probe whose time is up, are heard between two steps of Python only.
    database.set_progress_handler(lambda: 0, _INSTRUCTIONS)


def count_rows(database: sqlite3.Connection) -> Mapping[str, int]:
    """Rows of each ordinary table. Virtual tables are left out: their modules may not be there.

    SQLite itself writes `CREATE TABLE` so. What calls itself a table and is written in another way was put there.
    """
    names = [str(row[0]) for row in database.execute(_TABLES)]
    counts = {}
    for name in names:
        # An identifier cannot be bound; it comes from the schema and is quoted.
        quoted = '"' + name.replace('"', '""') + '"'
        counts[name] = int(database.execute(f"SELECT count(*) FROM {quoted}").fetchone()[0])  # noqa: S608
    return counts
