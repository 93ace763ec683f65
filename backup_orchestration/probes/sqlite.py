"""`sqlite`: the database opens, is consistent, and has as many rows as were captured.

The integrity check alone proves little: a raw copy of a database that was being written can be consistent and
lack its newest rows. The counts were taken in the transaction that was copied.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, ClassVar
from urllib.parse import quote

from pydantic import BeforeValidator, Field

from backup_orchestration.core import manifest
from backup_orchestration.core.errors import ProbeFailedError
from backup_orchestration.core.frozen import Frozen, tuple_of
from backup_orchestration.core.sources import AbsolutePath
from backup_orchestration.core.sqlite_rows import count_rows, distrust
from backup_orchestration.probes.base import Finding, ProbeKind, Restored

_SHOWN = 3
_JOURNALS = ("-wal", "-shm", "-journal")
_NAMES_ANOTHER = bytes.fromhex("d9d505f920a163d7")


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
    journals = [found for suffix in _JOURNALS if os.path.lexists(found := path.with_name(f"{path.name}{suffix}"))]
    for journal in journals:
        _require_harmless(journal, f"{name}{journal.name.removeprefix(path.name)}")
    mode = "mode=rw" if any(not journal.name.endswith("-shm") for journal in journals) else "mode=ro&immutable=1"
    size = sum(file.stat().st_size for file in (path, *journals))
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True)) as database:
            distrust(database, size)
            verdict = [str(row[0]) for row in database.execute("PRAGMA integrity_check(10)")]
            if verdict != ["ok"]:
                raise ProbeFailedError(f"{name} is damaged: {'; '.join(verdict[:_SHOWN])}")
            return count_rows(database)
    except sqlite3.Error as error:
        raise ProbeFailedError(f"{name} cannot be read as an SQLite database: {error}") from error


def _require_harmless(journal: Path, name: str) -> None:
    """SQLite writes to and removes what it finds as a journal, and what a journal names besides.

    A rollback journal of a transaction over several databases ends with the name of a file that SQLite looks for
    under its whole path, outside of the lab, and removes (https://sqlite.org/fileformat2.html, the rollback journal).
    """
    if not stat.S_ISREG(journal.lstat().st_mode):
        raise ProbeFailedError(f"{name} is no regular file")
    if name.endswith("-journal"):
        with journal.open("rb") as file:
            file.seek(max(0, journal.stat().st_size - len(_NAMES_ANOTHER)))
            if file.read() == _NAMES_ANOTHER:
                raise ProbeFailedError(f"{name} names another file, which is not part of the backup")


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
