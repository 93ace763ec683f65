"""An SQLite database that was made to do harm when it is captured or looked at."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import pytest
from hostile import HEADING, Outside, alarmed, naming_another, peak_growth
from trees import Capture

from backup_orchestration.core.errors import ProbeFailedError
from backup_orchestration.probes.sqlite import SqliteOptions, SqliteProbe

ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"


@pytest.fixture
def outside(tmp_path):
    return Outside(tmp_path / "outside")


@pytest.fixture
def capture(tmp_path):
    (tmp_path / "source").mkdir()
    source = tmp_path / "source/app.db"
    with closing(sqlite3.connect(source)) as database:
        database.execute("CREATE TABLE users AS SELECT 'a' AS name")
        database.commit()
    return Capture(source, tmp_path / "lab").take({"users": 1})


def run(path, script):
    with closing(sqlite3.connect(path)) as database:
        database.executescript(f"PRAGMA writable_schema = ON; {script}")
        database.commit()


def disguised(path, sql):
    """An entry of the schema that calls itself a table."""
    run(path, f"INSERT INTO sqlite_schema VALUES ('table', 'planted', 'planted', 0, '{sql}')")


def generated(path, expression):
    """A column that is computed whenever a row is checked."""
    sql = f"CREATE TABLE users (name TEXT, made TEXT AS ({expression}) NOT NULL)".replace("'", "''")
    run(path, f"UPDATE sqlite_schema SET sql = '{sql}' WHERE name = 'users'")


def said(capture, outside):
    """What came of the probe, in words; nothing outside of the lab was touched."""
    with alarmed():
        try:
            summary = SqliteProbe().check(capture.restored(), SqliteOptions()).summary
        except ProbeFailedError as error:
            summary = error.message
    outside.assert_untouched(summary)
    return summary


def journal(capture, suffix, make):
    make(capture.copy.with_name(f"app.db{suffix}"))


PASSES = "1 database(s), 1 tables, 1 rows, integrity ok"
CASES = {
    "a view without end that calls itself a table": (
        lambda at, out: disguised(at.copy, f"CREATE VIEW planted AS {ENDLESS}"),
        "malformed database schema",  # SQLite sees to it
    ),
    "a virtual table that calls itself a table": (
        lambda at, out: disguised(at.copy, "CREATE  VIRTUAL TABLE planted USING no_module (x)"),
        PASSES,
    ),
    "views and triggers that load a library": (
        lambda at, out: run(at.copy, f"CREATE VIEW v AS SELECT load_extension('{out.program}'); CREATE TRIGGER t"
                            f" AFTER INSERT ON users BEGIN SELECT load_extension('{out.program}'); END"),
        PASSES,
    ),
    "a generated column that loads a library": (
        lambda at, out: generated(at.copy, f"load_extension('{out.program}')"),
        "non-deterministic functions prohibited",
    ),
    "a rollback journal that names a file outside": (
        lambda at, out: journal(at, "-journal", lambda path: naming_another(path, out.file)),
        "app.db-journal names another file",
    ),
    "a rollback journal that is a link out of the lab": (
        lambda at, out: journal(at, "-journal", lambda path: path.symlink_to(out.file)),
        "app.db-journal is no regular file",
    ),
    "a write-ahead log that is a link out of the lab": (
        lambda at, out: journal(at, "-wal", lambda path: path.symlink_to(out.file)),
        "app.db-wal is no regular file",
    ),
    "a write-ahead log that is a dangling link": (
        lambda at, out: journal(at, "-wal", lambda path: path.symlink_to(out.root / "made")),
        "app.db-wal is no regular file",
    ),
    "a rollback journal that is a pipe": (
        lambda at, out: journal(at, "-journal", os.mkfifo),
        "app.db-journal is no regular file",
    ),
    "a database that is a pipe": (
        lambda at, out: (at.copy.unlink(), os.mkfifo(at.copy)),
        "app.db is a special file",
    ),
    "a database that is a link to itself": (
        lambda at, out: (at.copy.unlink(), at.copy.symlink_to(at.copy)),
        "cannot be reached",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_database_that_was_made_to_do_harm(capture, outside, matrix, name):
    plant, words = CASES[name]
    plant(capture, outside)
    found = said(capture, outside)
    matrix(HEADING, name, "sqlite", found.replace(str(capture.source.parent), "")[:100])
    assert words in found


def test_a_rollback_journal_that_names_a_file_is_understood_by_sqlite(capture, tmp_path):
    """Or the case above would show nothing."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    journal(capture, "-journal", lambda path: naming_another(path, victim))
    with closing(sqlite3.connect(capture.copy)) as database:
        database.execute("SELECT * FROM users").fetchall()
    assert not victim.exists()


def test_an_expression_cannot_fill_the_memory(capture, outside, matrix):
    generated(capture.copy, "length(hex(zeroblob(400000000)))")
    found = []
    grown = peak_growth(lambda: found.append(said(capture, outside)))
    matrix(
        HEADING,
        "a generated column that makes values of 800 MB",
        "sqlite",
        found[0].replace(str(capture.source.parent), ""),
    )
    assert "too big" in found[0]
    assert grown < 50_000_000
