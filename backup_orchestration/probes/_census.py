"""What a PostgreSQL server holds: databases, roles, extensions, and rows of each table. Asked before and after.

A name of a table is `schema.table`, quoted as SQL quotes it. Statements are made by the server from its own catalogue,
never from what was remembered: that came back with the data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from backup_orchestration.core.canary import literal
from backup_orchestration.core.errors import PostgresError
from backup_orchestration.core.postgres import Server

# A table may be dropped between being listed and being counted.
_ATTEMPTS = 3

_ROLES = "SELECT rolname AS name FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1"
_EXTENSIONS = "SELECT extname AS name FROM pg_extension ORDER BY 1"
_ENCODING = "SELECT pg_encoding_to_char(encoding) AS encoding FROM pg_database WHERE datname = current_database()"
_NOT_HERE = """
SELECT extname AS name FROM pg_extension
WHERE NOT EXISTS (SELECT FROM pg_available_extensions() AS here WHERE here.name = extname) ORDER BY 1
"""

# Tables whose rows survive a restore: no temporary ones, and no unlogged ones, which recovery empties.
_TABLES = """
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT format('SELECT json_build_array(%L, {what}) FROM ONLY %I.%I AS homelab_row',
              format('%I.%I', nspname, relname), {deleted}nspname, relname)
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relkind = 'r' AND relpersistence = 'p'
  AND nspname NOT IN ('pg_catalog', 'information_schema', 'homelab') AND nspname !~ '^pg_toast'
  AND {wanted}
ORDER BY nspname, relname
\\gexec
"""
_ROWS = ("count(*), %s", "pg_stat_get_tuples_deleted(pg_class.oid), ")
_FINGERPRINT = ("count(*), coalesce(sum(hashtextextended(homelab_row::text, 0)::numeric), 0)::text", "")
_NOT_OF_EXTENSIONS = (
    "NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e')"
)


@dataclass(frozen=True)
class Scope:
    """What to look at.

    Attributes:
        databases: names; empty: all.
        uncounted: patterns of tables to leave out.
        unchanging: patterns of tables to take fingerprints of.
        extensions_tables: count tables of extensions too; a dump does not carry them.
    """

    databases: Sequence[str]
    uncounted: Sequence[str]
    unchanging: Sequence[str]
    extensions_tables: bool


def census(server: Server, scope: Scope, databases: Sequence[str]) -> dict[str, Any]:
    """All of it, as JSON.

    Returns:
        `roles`: names; `databases`: by name, each with `encoding`, `extensions` (names), `tables` (`[rows, rows that
        were ever deleted]` by name) and `fingerprints` (`[rows, sum of hashes]` by name).

    Raises:
        PostgresError: the server refuses a query.
    """
    roles = [row["name"] for row in server.rows(_ROLES, databases[0])] if databases else []
    return {"roles": roles, "databases": {name: _database(server, scope, name) for name in databases}}


def not_installed(server: Server, database: str) -> Sequence[str]:
    """Extensions of a database whose files this machine lacks."""
    return [row["name"] for row in server.rows(_NOT_HERE, database)]


def _database(server: Server, scope: Scope, name: str) -> Mapping[str, Any]:
    wanted = [f"NOT ({_like(scope.uncounted)})"]
    if not scope.extensions_tables:
        wanted.append(_NOT_OF_EXTENSIONS)
    unchanging = [*wanted, _like(scope.unchanging)]
    return {
        "encoding": server.rows(_ENCODING, name)[0]["encoding"],
        "extensions": [row["name"] for row in server.rows(_EXTENSIONS, name)],
        "tables": _of_tables(server, name, _ROWS, wanted),
        "fingerprints": _of_tables(server, name, _FINGERPRINT, unchanging) if scope.unchanging else {},
    }


def _of_tables(server: Server, database: str, asked: tuple[str, str], wanted: Sequence[str]) -> Mapping[str, Any]:
    what, deleted = asked
    script = _TABLES.format(what=what, deleted=deleted, wanted=" AND ".join(wanted))
    for attempt in range(_ATTEMPTS):
        try:
            answers = [json.loads(line) for line in server.execute(script, database)]
            return {name: numbers for name, *numbers in answers}
        except PostgresError as error:
            if attempt + 1 == _ATTEMPTS or "does not exist" not in error.message:
                raise
    raise AssertionError("the last attempt returns or raises")


def matches(table: str, pattern: str) -> bool:
    """Whether a pattern of a table's name means this one, as `_like` has the server say."""
    return fnmatchcase(table, pattern.replace("[", "[[]"))


def _like(patterns: Sequence[str]) -> str:
    """A condition that is true of tables whose name matches one of the patterns."""
    if not patterns:
        return "false"
    listed = ", ".join(literal(_sql_pattern(pattern)) for pattern in patterns)
    return f"format('%I.%I', nspname, relname) LIKE ANY (ARRAY[{listed}])"


def _sql_pattern(pattern: str) -> str:
    """`*` and `?` as LIKE writes them; what LIKE would take for its own is escaped."""
    escaped = "".join(f"\\{letter}" if letter in "\\%_" else letter for letter in pattern)
    return escaped.replace("*", "%").replace("?", "_")
