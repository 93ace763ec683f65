"""What a PostgreSQL server holds: databases, roles, extensions, and rows of each table. Asked before and after.

A name of a table is `schema.table`, quoted as SQL quotes it. Statements are made by the server from its own catalogue,
never from what was remembered: that came back with the data.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from backup_orchestration.core.canary import literal
from backup_orchestration.core.errors import PostgresError
from backup_orchestration.core.postgres import Server

# A table may be dropped between being listed and being counted.
_ATTEMPTS = 3

_ROLES = "SELECT rolname AS name FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1"
_AVAILABLE = "SELECT name FROM pg_available_extensions()"
_DATABASE = """
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT json_build_object(
    'encoding', pg_encoding_to_char(encoding),
    'extensions', (SELECT coalesce(json_agg(extname ORDER BY extname), '[]') FROM pg_extension)
) FROM pg_database WHERE datname = current_database();
"""

# Tables whose rows survive a restore: no temporary ones, and no unlogged ones, which recovery empties.
_TABLES = """
SELECT format('SELECT json_build_array(%L, %L, {what}) FROM ONLY %I.%I AS homelab_row',
              '{kind}', format('%I.%I', nspname, relname), {deleted}nspname, relname)
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relkind = 'r' AND relpersistence = 'p'
  AND nspname NOT IN ('pg_catalog', 'information_schema', 'homelab') AND nspname !~ '^pg_toast'
  AND {wanted}
ORDER BY nspname, relname
\\gexec
"""
_ROWS = {"kind": "tables", "what": "count(*), %s", "deleted": "pg_stat_get_tuples_deleted(pg_class.oid), "}
_FINGERPRINTS = {
    "kind": "fingerprints",
    "what": "count(*), coalesce(sum(hashtextextended(homelab_row::text, 0)::numeric), 0)::text",
    "deleted": "",
}
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


def available(server: Server) -> Collection[str]:
    """Extensions whose files this machine has."""
    return {row["name"] for row in server.rows(_AVAILABLE)}


def _database(server: Server, scope: Scope, name: str) -> Mapping[str, Any]:
    """One database, in one session and one transaction: starting a session costs more than most that is asked in it."""
    wanted = [f"NOT ({_like(scope.uncounted)})"]
    if not scope.extensions_tables:
        wanted.append(_NOT_OF_EXTENSIONS)
    script = _DATABASE + _TABLES.format(**_ROWS, wanted=" AND ".join(wanted))
    if scope.unchanging:
        script += _TABLES.format(**_FINGERPRINTS, wanted=" AND ".join([*wanted, _like(scope.unchanging)]))
    first, *counted = map(json.loads, _answers(server, script, name))
    found: dict[str, Any] = {**first, "tables": {}, "fingerprints": {}}
    for kind, table, *numbers in counted:
        found[kind][table] = numbers
    return found


def _answers(server: Server, script: str, database: str) -> Sequence[str]:
    for attempt in range(_ATTEMPTS):
        try:
            return server.execute(script, database)
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
