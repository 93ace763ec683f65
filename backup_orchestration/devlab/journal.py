"""A small SQLite database that is written while the demo runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread

_PAUSE_SECONDS = 0.02
_FIRST_ROWS = 500


@contextmanager
def writer(path: Path) -> Iterator[None]:
    """Make the database, and add rows to it for the length of the block."""
    stop = Event()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE entries (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
        rows = ((f"entry {number}",) for number in range(_FIRST_ROWS))
        database.executemany("INSERT INTO entries (text) VALUES (?)", rows)
    thread = Thread(target=_write, args=(path, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _write(path: Path, stop: Event) -> None:
    with closing(sqlite3.connect(path, timeout=30)) as database:
        while not stop.wait(_PAUSE_SECONDS):
            with database:
                database.execute("INSERT INTO entries (text) VALUES ('one more')")
