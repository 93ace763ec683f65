"""`sql`: a restored PostgreSQL holds what it held when the backup began, and answers as it should.

Databases, roles, extensions and the rows of each table are counted before the backup. Writers go on while it runs, so a
count is a floor: by default a table may have lost as many rows as were ever deleted from it, which is none where rows
are only added, and all where they come and go. The canary row is read first: without it nothing is compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from backup_orchestration.core.errors import PostgresError, ProbeFailedError, ToolMissingError
from backup_orchestration.core.frozen import Frozen
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.postgres import NEUTRAL, POSTGRES, Server, databases, server_of
from backup_orchestration.core.sources import PgDump, Postgres
from backup_orchestration.core.tools import Requirement
from backup_orchestration.probes._census import Scope, available, census, matches
from backup_orchestration.probes._sql_options import Query, SqlOptions
from backup_orchestration.probes.base import Finding, ProbeKind, Restored

_SHOWN = 3


class SqlProbe(ProbeKind[SqlOptions]):
    """See the module."""

    name: ClassVar[str] = "sql"
    sources: ClassVar[tuple[str, ...]] = ("postgres", "pg_dump")
    tools: ClassVar[tuple[Requirement, ...]] = (POSTGRES,)
    options: ClassVar[type[Frozen]] = SqlOptions

    def record(self, policy: BackupPolicy, options: SqlOptions) -> object:
        """See `ProbeKind`; what is remembered: `_census.census`."""
        source = policy.source
        assert isinstance(source, Postgres | PgDump)  # noqa: S101 - see `sources`
        server = server_of(source).having(**NEUTRAL)
        scope = _scope(source, options)
        return census(server, scope, scope.databases or databases(server))

    def check(self, restored: Restored, options: SqlOptions) -> Finding:
        """See `ProbeKind`."""
        source = restored.policy.source
        assert isinstance(source, Postgres | PgDump)  # noqa: S101 - see `sources`
        server = restored.running()
        then = restored.fact(self.name)
        scope = _scope(source, options)
        there = databases(server)
        try:
            now = census(server, scope, [name for name in then["databases"] if name in there])
            faults = [
                *(_differences(then, now, options) if restored.at is None else ()),
                *_too_few(now, options),
                *_wrong_answers(server, options.queries, source.canary_database or "postgres"),
            ]
        except PostgresError as error:
            raise ProbeFailedError(error.message) from error
        if faults:
            more = f"; and {len(faults) - _SHOWN:,} more" if len(faults) > _SHOWN else ""
            raise ProbeFailedError("; ".join(faults[:_SHOWN]) + more)
        _refuse_unknown_extensions(server, now)
        return _finding(now, len(options.queries))


def _scope(source: Postgres | PgDump, options: SqlOptions) -> Scope:
    whole = isinstance(source, Postgres)
    names = options.databases if isinstance(source, Postgres) else (source.database,)
    return Scope(names, options.uncounted, options.unchanging, extensions_tables=whole)


def _differences(then: Mapping[str, Any], now: Mapping[str, Any], options: SqlOptions) -> Iterator[str]:
    """What was there before the backup and is not there now, as far as the policy still asks for it."""
    for name in then["roles"]:
        if name not in now["roles"]:
            yield f"role {name} is missing"
    for name, was in then["databases"].items():
        if name in now["databases"]:
            yield from _differences_in(name, was, now["databases"][name], options)
        else:
            yield f"database {name} is missing"


def _differences_in(name: str, was: Mapping[str, Any], found: Mapping[str, Any], options: SqlOptions) -> Iterator[str]:
    for extension in was["extensions"]:
        if extension not in found["extensions"]:
            yield f"extension {extension} is missing from database {name}"
    for table, (rows, deleted) in was["tables"].items():
        if not any(matches(table, pattern) for pattern in options.uncounted):
            yield from _rows_missing(f"{name}: table {table}", table, rows, deleted, found["tables"], options)
    for table, fingerprint in found["fingerprints"].items():
        if was["fingerprints"].get(table, fingerprint) != fingerprint:
            yield f"{name}: table {table} should not change, and is not what it was before the backup"


def _rows_missing(
    what: str, table: str, rows: int, deleted: int, found: Mapping[str, Sequence[int]], options: SqlOptions
) -> Iterator[str]:
    if table not in found:
        yield f"{what} is missing; {rows:,} rows were counted before the backup"
        return
    share = next((share for name, share in options.may_lose.items() if matches(table, name)), None)
    allowed = min(rows, deleted) if share is None else math.floor(rows * share)
    if found[table][0] < rows - allowed:
        loss = f"at most {allowed:,} may be missing" if allowed else "none may be missing"
        yield f"{what} has {found[table][0]:,} rows; {rows:,} were counted before the backup, {loss}"


def _too_few(now: Mapping[str, Any], options: SqlOptions) -> Iterator[str]:
    for name, floor in options.min_rows.items():
        counts = [
            (database, table, numbers[0])
            for database, found in now["databases"].items()
            for table, numbers in found["tables"].items()
            if matches(table, name)
        ]
        if not counts:
            yield f"no database has a table {name}; at least {floor:,} rows are expected in it"
        for database, table, rows in counts:
            if rows < floor:
                yield f"{database}: table {table} has {rows:,} rows, at least {floor:,} are expected"


def _wrong_answers(server: Server, queries: Sequence[Query], default: str) -> Iterator[str]:
    asked = server.having(search_path="pg_catalog, public")
    for item in queries:
        answers = asked.rows(item.query.strip().rstrip(";"), item.database or default)
        values = [value for answer in answers for value in answer.values()]
        if len(values) != 1:
            yield f"{item.query!r} gives {len(answers):,} rows with {len(values):,} values, and one value is expected"
        elif item.at_least is not None and not _reaches(values[0], item.at_least):
            yield f"{item.query!r} gives {values[0]!r}, at least {item.at_least} is expected"
        elif item.at_least is None and values[0] != item.equals:
            yield f"{item.query!r} gives {values[0]!r}, {item.equals!r} is expected"


def _reaches(value: object, floor: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= floor


def _refuse_unknown_extensions(server: Server, now: Mapping[str, Any]) -> None:
    """What an extension does here cannot be judged without its files; that is no fault of the data.

    Raises:
        ToolMissingError: names extension and database.
    """
    here = available(server)
    for name, found in now["databases"].items():
        if missing := [extension for extension in found["extensions"] if extension not in here]:
            raise ToolMissingError(
                f"database {name} uses the extension {missing[0]}, which PostgreSQL {server.programs.major} here lacks",
                remedy="install the extension's package on this machine",
            )


def _finding(now: Mapping[str, Any], queries: int) -> Finding:
    found = now["databases"].values()
    tables = sum(len(item["tables"]) for item in found)
    rows = sum(numbers[0] for item in found for numbers in item["tables"].values())
    asked = f", {queries} of your queries" if queries else ""
    return Finding(
        f"canary there; {len(found)} database(s), {tables:,} tables, {rows:,} rows{asked}",
        {"databases": len(found), "tables": tables, "rows": rows},
    )
