"""Rows of an SQLite database, counted alike when it is captured and when it has been restored."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

_TABLES = (
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    " AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
)


def count_rows(database: sqlite3.Connection) -> Mapping[str, int]:
    """Rows of each ordinary table. Virtual tables are left out: their modules may not be there."""
    names = [str(row[0]) for row in database.execute(_TABLES)]
    counts = {}
    for name in names:
        # An identifier cannot be bound; it comes from the schema and is quoted.
        quoted = '"' + name.replace('"', '""') + '"'
        counts[name] = int(database.execute(f"SELECT count(*) FROM {quoted}").fetchone()[0])  # noqa: S608
    return counts
