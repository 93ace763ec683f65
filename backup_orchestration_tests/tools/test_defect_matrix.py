"""Acceptance: whatever is wrong with what came back, the restore test fails and names it.

The defect is planted after restic has restored without complaint; where the probe that must see it looks at the
content of a database, it is planted in the capture, so that what was stored is what came back.
"""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from defects import at, everything, half, other_byte, planted

from backup_orchestration.providers import capture

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]

HEADING = "defects planted in what came back: defect | probe | its words"
SQLITE = 'BackupPolicy(target="app/db", source=Sqlite(path=str(HERE / "app.db")))'
FILES = 'BackupPolicy(target="app/files", source=Files(path=str(HERE / "data")))'
DUMP = 'BackupPolicy(target="app/dump", source=Dump(command=("seq", "5000"), filename="app.sql"))'


@pytest.fixture(scope="module")
def stored(tmp_path_factory, new_site, start_repository):
    """One good snapshot of each kind of source."""
    site = new_site(tmp_path_factory.mktemp("matrix")).declare(FILES, SQLITE, DUMP)
    start_repository(site, "app/files", "app/db", "app/dump")
    (site.root / "data" / "deep" / "er").mkdir(parents=True)
    (site.root / "data" / "deep" / "er" / "three.txt").write_text("three\n" * 1000)
    (site.root / "data" / "void").mkdir()
    make_database(site.root / "app.db")
    keys = {target: site.backup(target).key for target in ("app/files", "app/db", "app/dump")}
    for path in (*(site.root / "data").rglob("*"), site.root / "data"):  # nothing is as young as the capture
        os.utime(path, (1_700_000_000, 1_700_000_000), follow_symlinks=False)
    return site, {**keys, "app/files": site.backup("app/files").key}


def make_database(path):
    with closing(sqlite3.connect(path)) as live, live:
        live.execute("CREATE TABLE users (a INTEGER PRIMARY KEY, b)")
        live.execute("CREATE TABLE notes (a INTEGER PRIMARY KEY, b)")
        live.execute("CREATE INDEX by_b ON notes (b)")
        live.executemany("INSERT INTO users (b) VALUES (?)", [(f"user {n}",) for n in range(50)])
        live.executemany("INSERT INTO notes (b) VALUES (?)", [(f"note {n}",) for n in range(20)])


def statement(sql):
    def run(path):
        with closing(sqlite3.connect(path)) as database, database:
            database.execute(sql)

    return run


def retarget(path):
    path.unlink()
    path.symlink_to("sub/two.bin")


def by_a_link(path):
    shutil.move(path, path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


DEFECTS = {
    "file missing": ("app/files", at("sub/two.bin", Path.unlink), "files", "sub/two.bin is missing"),
    "one byte changed, same size and time": ("app/files", at("sub/two.bin", other_byte), "files", "other bytes"),
    "file truncated": ("app/files", at("sub/two.bin", half), "files", "has 8,192 bytes, it had 16,384"),
    "file emptied": ("app/files", at("one.txt", lambda p: os.truncate(p, 0)), "files", "has 0 bytes"),
    "mode changed": ("app/files", at("one.txt", lambda p: p.chmod(0o600)), "files", "has mode 0600"),
    "mode of a directory changed": ("app/files", at("sub", lambda p: p.chmod(0o700)), "files", "sub has mode 0700"),
    "extra file": ("app/files", at("sub/new", lambda p: p.write_text("x")), "files", "sub/new is there and was not"),
    "link retargeted": ("app/files", at("link", retarget), "files", "link points to sub/two.bin"),
    "link gone": ("app/files", at("link", Path.unlink), "files", "link is missing"),
    "directory gone": ("app/files", at("deep", shutil.rmtree), "files", "deep is missing"),
    "empty directory gone": ("app/files", at("void", Path.rmdir), "files", "void is missing"),
    "directory replaced by a link": ("app/files", at("sub", by_a_link), "files", "sub is a link, it was a dir"),
    "empty restore": ("app/files", everything, "files", "nothing was restored"),
    "only the manifest came back": ("app/files", at("", shutil.rmtree), "files", "is missing"),
    "manifest gone": ("app/files", lambda tree: tree.manifest.unlink(), "files", "the manifest is not there"),
    "manifest cut off": ("app/files", lambda tree: half(tree.manifest), "files", "manifest"),
    "database file missing": ("app/db", at("", Path.unlink), "files", "is missing"),
    "database truncated": ("app/db", at("", half), "files", "bytes, it had"),
    "row missing (restored)": ("app/db", at("", statement("DELETE FROM users WHERE a = 7")), "files", "other bytes"),
    "table empty (restored)": ("app/db", at("", statement("DELETE FROM notes")), "files", "other bytes"),
    "dump missing": ("app/dump", at("", Path.unlink), "files", "is missing"),
    "dump cut off": ("app/dump", at("", half), "files", "bytes, the dump had"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_in_what_came_back(stored, monkeypatch, matrix, name):
    site, keys = stored
    target, defect, probe, words = DEFECTS[name]
    planted_in = planted(monkeypatch, defect)
    evidence = site.restore_test(target, keys[target])
    matrix(HEADING, name, evidence.reason.partition(":")[0], _short(evidence.reason, site))
    assert planted_in == [keys[target]]
    assert evidence.passed is False
    assert evidence.reason.startswith(f"{probe}: ")
    assert words in evidence.reason
    restored = next(item for item in evidence.probes if item.name == "restore")
    assert restored.passed, "restic saw it already: the defect shows nothing about the probe"
    if target == "app/db":
        assert [item.name for item in evidence.probes if not item.passed] == ["files", "sqlite"]


@pytest.mark.parametrize("target", ["app/files", "app/db", "app/dump"])
def test_without_a_defect_the_same_restore_passes(stored, monkeypatch, matrix, target):
    site, keys = stored
    planted_in = planted(monkeypatch, lambda tree: None)
    evidence = site.restore_test(target, keys[target])
    matrix(HEADING, f"none, {target}", "-", "passed" if evidence.passed else evidence.reason)
    assert planted_in == [keys[target]]
    assert evidence.passed, evidence.reason
    assert evidence.counts.get("changed_during_capture", 0) == 0


def _only_the_main_file(source, copy):
    """A raw copy of a database that is open elsewhere: consistent, and without its newest rows."""
    with closing(sqlite3.connect(source)) as live:
        rows = {"users": live.execute("SELECT count(*) FROM users").fetchone()[0]}
    shutil.copyfile(source, copy)
    return rows


def _after_the_copy(sql):
    copy_database = capture.copy_database

    def copied(source, copy):
        rows = copy_database(source, copy)
        statement(sql)(copy)
        return rows

    return copied


def _damaged_index(source, copy):
    """Every table can be read and counted; the index speaks of a row that is not there."""
    rows = capture_copy(source, copy)
    with closing(sqlite3.connect(copy)) as database:
        (page,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'by_b'").fetchone()
    content = copy.read_bytes()
    at = content.index(b"note 7", (page - 1) * 4096)
    copy.write_bytes(content[:at] + b"note x" + content[at + 6 :])
    return rows


capture_copy = capture.copy_database

CAPTURES = {
    "SQLite copied raw while written": (_only_the_main_file, "table users has 50 rows, 60 were captured"),
    "row missing": (_after_the_copy("DELETE FROM users WHERE a = 7"), "table users has 59 rows, 60 were captured"),
    "table empty": (_after_the_copy("DELETE FROM notes"), "table notes has 0 rows, 20 were captured"),
    "table gone": (_after_the_copy("DROP TABLE notes"), "table notes has 0 rows, 20 were captured"),
    "row too many": (_after_the_copy("INSERT INTO notes (b) VALUES (1)"), "table notes has 21 rows, 20 were"),
    "damaged index": (_damaged_index, "app.db is damaged: "),
}


@pytest.mark.parametrize("name", CAPTURES)
def test_a_defect_in_what_was_captured(site, start_repository, monkeypatch, matrix, name):
    """What was stored comes back bit by bit; only somebody who looks into the database sees it."""
    copy_database, words = CAPTURES[name]
    start_repository(site.declare(SQLITE), "app/db")
    make_database(site.root / "app.db")
    with closing(sqlite3.connect(site.root / "app.db", isolation_level=None)) as live:
        live.execute("PRAGMA journal_mode = WAL")
        live.execute("PRAGMA wal_autocheckpoint = 0")
        live.executemany("INSERT INTO users (b) VALUES (?)", [(n,) for n in range(10)])
        monkeypatch.setattr(capture, "copy_database", copy_database)
        key = site.backup("app/db").key
        monkeypatch.undo()
        evidence = site.restore_test("app/db", key)
        matrix(HEADING, f"{name} (captured)", evidence.reason.partition(":")[0], _short(evidence.reason, site))
        assert evidence.passed is False
        assert evidence.reason.startswith("sqlite: ")
        assert words in evidence.reason
        assert [item.name for item in evidence.probes if item.passed] == ["restore", "files"]
        assert site.restore_test("app/db", site.backup("app/db").key).passed


def _short(reason, site):
    return reason.partition(": ")[2].replace(str(site.root), "").replace("/.homelab/staging/app-db", "")[:100]
