"""The `sqlite` probe on databases that came back whole, damaged, short of rows, or made to do harm."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import ValidationError
from trees import Capture

from backup_orchestration.core.errors import ProbeFailedError
from backup_orchestration.core.sqlite_rows import count_rows
from backup_orchestration.probes.sqlite import SqliteOptions, SqliteProbe

ROWS = {"users": 3, "orders": 2000}


def make(path: Path, script: str = "") -> Path:
    """A database with two tables, and whatever the script adds."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            """
            CREATE TABLE users (name TEXT);
            INSERT INTO users VALUES ('a'), ('b'), ('c');
            CREATE TABLE orders (number INTEGER PRIMARY KEY, text TEXT);
            CREATE INDEX by_text ON orders (text);
            """
        )
        database.executemany("INSERT INTO orders VALUES (?, ?)", ((number, "x" * 40) for number in range(2000)))
        database.commit()
        database.executescript(script)
        database.commit()
    return path


@pytest.fixture
def capture(tmp_path):
    """One database, captured with its row counts and restored as it was."""
    (tmp_path / "source").mkdir()
    return Capture(make(tmp_path / "source/app.db"), tmp_path / "lab").take(ROWS)


def probe(capture, **options):
    return SqliteProbe().check(capture.restored(), SqliteOptions(**options))


def fault(capture, **options) -> str:
    with pytest.raises(ProbeFailedError) as failed:
        probe(capture, **options)
    return failed.value.message


def run(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(script)
        database.commit()


def test_a_database_that_came_back_as_it_was_passes_with_its_counts(capture):
    found = probe(capture)
    assert found.counts == {"databases": 1, "tables": 2, "rows": 2003}
    assert found.summary == "1 database(s), 2 tables, 2,003 rows, integrity ok"


def test_looking_changes_nothing(capture):
    before = capture.copy.read_bytes()
    capture.copy.chmod(0o400)
    capture.copy.parent.chmod(0o500)
    try:
        probe(capture)
        assert os.listdir(capture.copy.parent) == ["app.db"]
        assert capture.copy.read_bytes() == before
    finally:
        capture.copy.parent.chmod(0o700)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("DELETE FROM users WHERE name = 'c'", "table users has 2 rows, 3 were captured"),
        ("INSERT INTO users VALUES ('d')", "table users has 4 rows, 3 were captured"),
        ("DROP TABLE users", "table users has 0 rows, 3 were captured"),
        ("DROP TABLE users; CREATE VIEW users AS SELECT 1 UNION SELECT 2 UNION SELECT 3", "table users has 0 rows"),
        ("DELETE FROM users; DELETE FROM orders", "table users has 0 rows, 3 were captured; table orders has 0 rows"),
    ],
    ids=["fewer", "more", "no-table", "a-view-instead", "emptied"],
)
def test_rows_that_were_not_captured_so_are_named(capture, change, says):
    run(capture.copy, change)
    assert says in fault(capture)


def test_the_newest_rows_missing_is_red_though_the_database_is_consistent(capture):
    """What a raw copy of a live database looks like: integrity ok, and a moment too old."""
    run(capture.copy, "DELETE FROM orders WHERE number > 1990")
    with closing(sqlite3.connect(capture.copy)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert "table orders has 1,991 rows, 2,000 were captured" in fault(capture)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"this is no database at all" * 100),
        lambda path: os.truncate(path, path.stat().st_size // 2),
        lambda path: overwrite(path, 0, b"X"),
        lambda path: overwrite(path, 18, b"\xff\xff"),
        lambda path: overwrite(path, 4096 * 5, os.urandom(4096)),
        lambda path: [path.unlink(), path.mkdir()],
    ],
    ids=["missing", "empty", "garbage", "truncated", "magic", "format", "a-page", "a-directory"],
)
def test_a_damaged_database_is_red(capture, damage):
    damage(capture.copy)
    assert str(capture.source) in fault(capture)


def test_an_index_that_lacks_a_row_is_red_though_every_row_is_there(capture):
    run(
        capture.copy,
        """
        PRAGMA writable_schema = ON;
        UPDATE sqlite_schema SET sql = 'CREATE INDEX by_text ON orders (number)' WHERE name = 'by_text';
        """,
    )
    assert "is damaged" in fault(capture)


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def test_a_link_out_of_the_lab_is_not_opened(capture, tmp_path):
    shutil.move(capture.copy, tmp_path / "outside.db")
    capture.copy.symlink_to(tmp_path / "outside.db")
    assert fault(capture) == f"{capture.source} leads out of the lab"


def test_a_directory_that_leads_out_of_the_lab_is_not_entered(capture, tmp_path):
    shutil.move(capture.copy.parent, tmp_path / "outside")
    capture.copy.parent.symlink_to(tmp_path / "outside")
    assert fault(capture) == f"{capture.source} leads out of the lab"


# A schema is data too, and somebody else's.


@pytest.mark.parametrize(
    "script",
    [
        """CREATE TABLE "x""; DROP TABLE users; --" (a); INSERT INTO "x""; DROP TABLE users; --" VALUES (1)""",
        "CREATE TABLE [select] (a); INSERT INTO [select] VALUES (1)",
        "CREATE VIEW endless AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i FROM n",
        "CREATE VIEW users_view AS SELECT load_extension('/nowhere.so')",
        "CREATE TRIGGER t AFTER INSERT ON users BEGIN DELETE FROM orders; END",
        "CREATE VIRTUAL TABLE search USING fts5 (text); INSERT INTO search VALUES ('x')",
    ],
    ids=["quotes", "keyword", "endless-view", "loading-view", "trigger", "full-text"],
)
def test_a_hostile_schema_is_counted_and_not_obeyed(capture, script):
    run(capture.copy, script)
    before = capture.copy.read_bytes()
    assert probe(capture).counts["rows"] >= 2003
    assert capture.copy.read_bytes() == before


def plant(path: Path, sql: str) -> None:
    """Put an entry into the schema that SQLite itself would not have taken."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute("INSERT INTO sqlite_schema VALUES ('table', 'planted', 'planted', 0, ?)", (sql,))
        database.commit()


def test_a_table_of_a_module_that_is_not_here_is_left_out(capture):
    plant(capture.copy, "CREATE VIRTUAL TABLE planted USING no_such_module (x)")
    assert probe(capture).counts["tables"] == 2


@pytest.mark.parametrize("sql", ["CREATE TABLE planted (", "not sql at all", "CREATE TABLE users (x)"])
def test_a_schema_that_cannot_be_parsed_is_red(capture, sql):
    plant(capture.copy, sql)
    assert "cannot be read as an SQLite database: malformed database schema" in fault(capture)


def test_system_and_virtual_tables_are_not_counted(tmp_path):
    path = make(
        tmp_path / "app.db",
        "CREATE TABLE counted (n INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO counted DEFAULT VALUES;"
        "CREATE TABLE sqliteXnot (a); CREATE VIRTUAL TABLE search USING fts5 (text); ANALYZE",
    )
    with closing(sqlite3.connect(path)) as database:
        counts = count_rows(database)
    assert {name: rows for name, rows in counts.items() if not name.startswith("search_")} == {
        **ROWS,
        "counted": 1,
        "sqliteXnot": 0,
    }


# Databases inside a directory: copied raw, with whatever stood beside them.


@pytest.fixture
def folder(tmp_path):
    """A directory with a database whose newest rows are still in its write-ahead log."""
    source = tmp_path / "folder"
    source.mkdir()
    path = make(source / "app.db", "PRAGMA journal_mode = WAL")
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("INSERT INTO users VALUES ('only in the log')")
        writer.commit()
        assert (source / "app.db-wal").stat().st_size > 0
        return Capture(source, tmp_path / "lab").take()


def test_rows_in_a_write_ahead_log_beside_the_database_count(folder):
    name = str(folder.source / "app.db")
    assert probe(folder, databases=[name], min_rows={"users": 4}).counts["rows"] == 2004


def test_a_write_ahead_log_that_did_not_come_back_is_missed(folder):
    (folder.copy / "app.db-wal").unlink()
    (folder.copy / "app.db-shm").unlink(missing_ok=True)
    name = str(folder.source / "app.db")
    assert "table users has 3 rows, at least 4 are expected" in fault(folder, databases=[name], min_rows={"users": 4})


def test_a_floor_for_a_table_that_is_not_there_is_not_met(capture):
    assert "table guests has 0 rows, at least 1 are expected" in fault(capture, min_rows={"guests": 1})


def test_without_any_database_there_is_nothing_that_could_pass(folder):
    assert "no database to check" in fault(folder)


@pytest.mark.parametrize(
    "options",
    [
        {"databases": ["app.db"]},
        {"databases": "/srv/app.db"},
        {"min_rows": {"users": -1}},
        {"min_rows": {"users": "3"}},
        {"rows": 3},
    ],
    ids=str,
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValidationError):
        SqliteOptions(**options)
