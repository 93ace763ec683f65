"""The lists of a mirror's run, on disk: listings of any length and in any order are compared in little memory."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from backup_orchestration.core.object_manifest import Entry
from backup_orchestration.providers.mirror.layout import DATA
from backup_orchestration.stores.bucket import Listed

_TABLES = """
CREATE TABLE source (key TEXT PRIMARY KEY, size INTEGER, etag TEXT, modified REAL) WITHOUT ROWID;
CREATE TABLE after (key TEXT PRIMARY KEY, size INTEGER, etag TEXT, modified REAL) WITHOUT ROWID;
CREATE TABLE made (key TEXT PRIMARY KEY, size INTEGER, etag TEXT, modified REAL) WITHOUT ROWID;
CREATE TABLE stored (key TEXT PRIMARY KEY, size INTEGER, etag TEXT, modified REAL) WITHOUT ROWID;
CREATE TABLE entries (name TEXT PRIMARY KEY, key TEXT, size INTEGER, etag TEXT, line TEXT) WITHOUT ROWID;
"""


class Index:
    """Listings by name (`source`, `after`, `made`, `stored`), and the entries of a manifest. For one thread."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def fill(self, table: str, found: Iterable[Listed]) -> int:
        """Write a listing down; returns how many objects it has. What is listed twice counts once."""
        rows = ((item.key, item.size, item.etag, item.modified.timestamp()) for item in found)
        self._database.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?)", rows)  # noqa: S608 - ours
        return int(self._one(f"SELECT count(*) FROM {table}"))  # noqa: S608 - ours

    def wanted(self) -> Iterator[tuple[str, int, str, bool]]:
        """Key, size and ETag of what the source lists, by key, and whether another tool made a copy of it."""
        query = "SELECT key, size, etag, ? || key IN (SELECT key FROM made) FROM source ORDER BY key"
        yield from ((*row[:3], bool(row[3])) for row in self._database.execute(query, (DATA,)))

    def unwanted(self) -> Iterator[str]:
        """Names that another tool made, and that are of nothing that the source lists."""
        query = "SELECT key FROM made WHERE key NOT IN (SELECT ? || key FROM source) ORDER BY key"
        yield from (name for (name,) in self._database.execute(query, (DATA,)))

    def beside(self) -> str | None:
        """A key `a` beside which the source lists `a/b`, or None."""
        found = self._database.execute(
            "SELECT key FROM source AS a WHERE substr(key, -1) <> '/' AND EXISTS "
            "(SELECT 1 FROM source AS b WHERE b.key > a.key || '/' AND b.key < a.key || '0') LIMIT 1"
        ).fetchone()
        return str(found[0]) if found else None

    def late(self, since: float) -> list[str]:
        """Keys that only the second listing has, and that are older than the first.

        Without objects in parts: those are dated when their upload was begun, and appear when it ends.
        """
        return self._keys(
            "SELECT key FROM after WHERE modified < ? AND instr(etag, '-') = 0 AND key NOT IN (SELECT key FROM source) "
            "ORDER BY key LIMIT 10",
            since,
        )

    def lost(self) -> Iterator[str]:
        """Keys that were copied and that the second listing does not have."""
        query = "SELECT key FROM entries WHERE key NOT IN (SELECT key FROM after) ORDER BY key"
        yield from (key for (key,) in self._database.execute(query))

    def add(self, entry: Entry) -> None:
        """Write an entry down."""
        row = (entry.name, entry.key, entry.size, entry.stored_etag, entry.line())
        self._database.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)", row)

    def totals(self) -> tuple[int, int]:
        """Number and bytes of the entries."""
        count, size = self._database.execute("SELECT count(*), coalesce(sum(size), 0) FROM entries").fetchone()
        return int(count), int(size)

    def lines(self) -> Iterator[str]:
        """The entries' lines, by key."""
        yield from (line for (line,) in self._database.execute("SELECT line FROM entries ORDER BY key"))

    def missing(self) -> list[str]:
        """Keys of entries that are not stored, the first few."""
        return self._keys("SELECT key FROM entries WHERE name NOT IN (SELECT key FROM stored) ORDER BY key LIMIT 10")

    def different(self) -> list[str]:
        """Keys of entries that are stored with another size or ETag, the first few."""
        return self._keys(
            "SELECT e.key FROM entries AS e JOIN stored AS s ON s.key = e.name "
            "WHERE s.size <> e.size OR s.etag <> e.etag ORDER BY e.key LIMIT 10"
        )

    def strangers(self) -> list[str]:
        """Names that are stored and of which there is no entry, the first few."""
        return self._keys("SELECT key FROM stored WHERE key NOT IN (SELECT name FROM entries) ORDER BY key LIMIT 10")

    def _keys(self, query: str, *values: object) -> list[str]:
        return [str(key) for (key,) in self._database.execute(query, values)]

    def _one(self, query: str) -> int:
        return int(self._database.execute(query).fetchone()[0])


@contextmanager
def opened(path: Path) -> Iterator[Index]:
    """A new index in a file for the block; whoever gave the directory removes it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        # Nobody reads it after a crash.
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        try:
            database.executescript(_TABLES)
            yield Index(database)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
            raise
