"""`sqlite`: the database opens, is consistent, and has as many rows as were captured.

The integrity check alone proves little: a raw copy of a database that was being written can be consistent and
lack its newest rows. The counts were taken in the transaction that was copied.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, ClassVar
from urllib.parse import quote

from pydantic import BeforeValidator, Field

from backup_orchestration.core import manifest
from backup_orchestration.core.errors import ProbeFailedError
from backup_orchestration.core.sources import AbsolutePath, Frozen, tuple_of
from backup_orchestration.core.sqlite_rows import count_rows
from backup_orchestration.probes.base import Finding, ProbeKind, Restored

_SHOWN = 3


class SqliteOptions(Frozen):
    """Options of the probe.

    Attributes:
        databases: further database files inside a `Files` source, absolute paths.
        min_rows: least rows of a table, in every database that is checked.
    """

    databases: Annotated[tuple[AbsolutePath, ...], BeforeValidator(tuple_of)] = ()
    min_rows: Mapping[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)


class SqliteProbe(ProbeKind[SqliteOptions]):
    """See the module."""

    name: ClassVar[str] = "sqlite"
    sources: ClassVar[tuple[str, ...]] = ("files", "sqlite")
    options: ClassVar[type[Frozen]] = SqliteOptions

    def check(self, restored: Restored, options: SqliteOptions) -> Finding:
        """See `ProbeKind`."""
        listed = restored.manifest_path()
        captured: Mapping[str, Mapping[str, int]] = manifest.read(listed)[0].rows if listed else {}
        databases = {*captured, *map(str, options.databases)}
        if not databases:
            raise ProbeFailedError("no database to check; name it in the probe's option `databases`")
        rows = 0
        tables = 0
        for name in sorted(databases):
            counts = _inspect(restored.inside(name), name)
            _compare(name, counts, captured.get(name), options.min_rows)
            rows += sum(counts.values())
            tables += len(counts)
        return Finding(
            f"{len(databases)} database(s), {tables:,} tables, {rows:,} rows, integrity ok",
            {"databases": len(databases), "tables": tables, "rows": rows},
        )


def _inspect(path: Path, name: str) -> Mapping[str, int]:
    """Row counts of a database that passed its integrity check."""
    if not path.is_file():
        raise ProbeFailedError(f"{name} is missing")
    # With a journal restored beside it, the database is opened as after a crash: it is rolled back in the lab, or
    # brought forward. Alone it is immutable: nothing is looked for, and nothing written.
    journals = [path.with_name(f"{path.name}{suffix}") for suffix in ("-wal", "-journal")]
    mode = "mode=rw" if any(journal.exists() for journal in journals) else "mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True)) as database:
            database.execute("PRAGMA trusted_schema = OFF")
            database.execute("PRAGMA cell_size_check = ON")
            verdict = [str(row[0]) for row in database.execute("PRAGMA integrity_check(10)")]
            if verdict != ["ok"]:
                raise ProbeFailedError(f"{name} is damaged: {'; '.join(verdict[:_SHOWN])}")
            return count_rows(database)
    except sqlite3.Error as error:
        raise ProbeFailedError(f"{name} cannot be read as an SQLite database: {error}") from error


def _compare(
    name: str, counts: Mapping[str, int], captured: Mapping[str, int] | None, floors: Mapping[str, int]
) -> None:
    faults = [
        f"table {table} has {counts.get(table, 0):,} rows, {rows:,} were captured"
        for table, rows in (captured or {}).items()
        if counts.get(table) != rows
    ]
    faults += [
        f"table {table} has {counts.get(table, 0):,} rows, at least {floor:,} are expected"
        for table, floor in floors.items()
        if counts.get(table, 0) < floor
    ]
    if faults:
        raise ProbeFailedError(f"{name}: {'; '.join(faults[:_SHOWN])}")
