"""What happens before a tool is called: databases copied whole, room asked for, staging left empty."""

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import NamedTuple

import pytest

from backup_orchestration.core import manifest
from backup_orchestration.core.errors import SourceError, SpaceError
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.sources import Dump, Files, Sqlite
from backup_orchestration.providers import capture
from backup_orchestration.providers.base import BackupSpec


class Usage(NamedTuple):
    total: int
    used: int
    free: int


NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def database(path, *statements):
    """A database in WAL mode that a program holds open: its newest rows are not in the main file."""
    live = sqlite3.connect(path, isolation_level=None)
    live.execute("PRAGMA journal_mode = WAL")
    live.execute("PRAGMA wal_autocheckpoint = 0")
    for statement in statements:
        live.execute(statement)
    return live


def staged(tmp_path, source, now=lambda: NOON):
    policy = BackupPolicy(target="app/it", source=source)
    return capture.captured(policy, BackupSpec("run", create=True), tmp_path / "staging", now)


def leftovers(tmp_path):
    return list((tmp_path / "staging").iterdir())


def test_rows_that_are_only_in_the_log_are_copied_and_counted(tmp_path):
    statements = [
        "CREATE TABLE plain (a)",
        'CREATE TABLE "quo""ted; --" (a)',
        "CREATE TABLE keyed (a PRIMARY KEY) WITHOUT ROWID",
        "CREATE TABLE none (a)",
        "CREATE VIEW seen AS SELECT * FROM plain",
        "INSERT INTO plain VALUES (1), (2), (3)",
        'INSERT INTO "quo""ted; --" VALUES (1)',
        "INSERT INTO keyed VALUES (1), (2)",
    ]
    with closing(database(tmp_path / "app.db", *statements)):
        rows = capture.copy_database(tmp_path / "app.db", tmp_path / "copy.db")
    assert rows == {"plain": 3, 'quo"ted; --': 1, "keyed": 2, "none": 0}
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT a FROM plain ORDER BY a").fetchall() == [(1,), (2,), (3,)]
        assert copy.execute("SELECT count(*) FROM seen").fetchone() == (3,)
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600


def test_a_row_that_is_not_committed_is_neither_copied_nor_counted(tmp_path):
    with closing(database(tmp_path / "app.db", "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")) as live:
        live.execute("BEGIN IMMEDIATE")
        live.execute("INSERT INTO t VALUES (2)")
        assert capture.copy_database(tmp_path / "app.db", tmp_path / "copy.db") == {"t": 1}


def test_the_source_is_not_changed_by_its_capture(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    with closing(database(source / "app.db", "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")) as live:
        before = {path.name: path.read_bytes() for path in source.iterdir() if path.suffix != ".db-shm"}
        capture.copy_database(source / "app.db", tmp_path / "copy.db")
        after = {path.name: path.read_bytes() for path in source.iterdir() if path.suffix != ".db-shm"}
        assert (set(after), after) == ({"app.db", "app.db-wal"}, before)
        live.execute("INSERT INTO t VALUES (2)")  # it is not held locked either


@pytest.mark.parametrize(
    "content", [b"this is no database, whatever its name says" * 40, b"SQLite format 3\0" + b"\0" * 4000]
)
def test_what_is_no_database_is_refused(tmp_path, content):
    (tmp_path / "app.db").write_bytes(content)
    with pytest.raises(SourceError, match=r"app\.db cannot be copied"):
        with staged(tmp_path, Sqlite(path=tmp_path / "app.db")):
            pytest.fail("it was captured")
    assert leftovers(tmp_path) == []


def test_a_database_that_is_missing_is_refused_and_not_made(tmp_path):
    with pytest.raises(SourceError, match="does not exist"):
        with staged(tmp_path, Sqlite(path=tmp_path / "app.db")):
            pytest.fail("it was captured")
    assert not (tmp_path / "app.db").exists()
    assert leftovers(tmp_path) == []


def test_a_database_that_stays_locked_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(capture, "_BUSY_SECONDS", 0.1)
    with closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None)) as live:
        live.execute("CREATE TABLE t (a)")
        live.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SourceError, match="locked"):
            capture.copy_database(tmp_path / "app.db", tmp_path / "copy.db")


def test_what_is_staged_is_private_and_gone_afterwards(tmp_path):
    database(tmp_path / "app.db", "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)").close()
    with staged(tmp_path, Sqlite(path=tmp_path / "app.db")) as captured:
        assert {path.parent for path in captured.paths} == {tmp_path / "staging"}
        assert (tmp_path / "staging").stat().st_mode & 0o777 == 0o700
        header, entries, totals = manifest.read(tmp_path / "staging" / manifest.FILENAME)
        assert [entry.path for entry in entries] == [str(tmp_path / "staging" / "app.db")]
        assert (header.rows, totals().files) == ({str(tmp_path / "staging" / "app.db"): {"t": 1}}, 1)
    assert leftovers(tmp_path) == []


def test_what_a_killed_backup_left_in_staging_does_not_get_into_the_next(tmp_path):
    (tmp_path / "staging" / "old").mkdir(parents=True)
    (tmp_path / "staging" / manifest.FILENAME).write_text("old")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "new").write_text("new")
    with staged(tmp_path, Files(path=tmp_path / "data")):
        assert [path.name for path in leftovers(tmp_path)] == [manifest.FILENAME]
        assert "old" not in (tmp_path / "staging" / manifest.FILENAME).read_text()
    assert leftovers(tmp_path) == []


def test_staging_is_empty_after_an_error_in_the_block(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "new").write_text("new")
    with pytest.raises(RuntimeError):
        with staged(tmp_path, Files(path=tmp_path / "data")):
            raise RuntimeError
    assert leftovers(tmp_path) == []


def test_a_capture_is_as_of_its_start(tmp_path):
    (tmp_path / "one").write_text("1")
    moments = iter([NOON, NOON.replace(hour=13)])
    with staged(tmp_path, Files(path=tmp_path / "one"), lambda: next(moments)) as captured:
        header, entries, totals = manifest.read(tmp_path / "staging" / manifest.FILENAME)
        assert [entry.path for entry in entries] == [str(tmp_path / "one")]
        assert captured.started_at == NOON
        assert header.started_ns == NOON.timestamp() * 10**9
        assert totals().finished_ns - header.started_ns == 3600 * 10**9


def test_a_dump_is_not_captured_as_files(tmp_path):
    with pytest.raises(TypeError, match="dump"):
        with staged(tmp_path, Dump(command=("true",), filename="x")):
            pytest.fail("it was captured")


@pytest.mark.parametrize("there", [True, False])
def test_room_is_asked_of_the_disk_that_the_directory_will_be_on(tmp_path, monkeypatch, there):
    asked = []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or Usage(0, 0, 100 << 20))
    wanted = tmp_path if there else tmp_path / "not" / "yet"
    capture.require_space(wanted, 60 << 20, "the copy")
    assert asked == [tmp_path]
    with pytest.raises(SpaceError) as caught:
        capture.require_space(wanted, 100 << 20, "the copy")
    assert "the copy needs 104,857,600 bytes" in str(caught.value)
    assert "104,857,600 free" in str(caught.value)


def test_a_database_is_not_copied_where_it_has_no_room(tmp_path, monkeypatch):
    database(tmp_path / "app.db", "CREATE TABLE t (a)").close()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 1 << 20))
    with pytest.raises(SpaceError, match=r"the copy of .*app\.db"):
        with staged(tmp_path, Sqlite(path=tmp_path / "app.db")):
            pytest.fail("it was captured")
    assert leftovers(tmp_path) == []


def test_a_first_backup_is_refused_before_anything_is_written_where_it_has_no_room(site, fake, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 1 << 20))
    with pytest.raises(SpaceError, match="first backup of app/files"):
        site.backup()
    assert fake.verbs() == ["cat"]
    assert not (site.root / "backups").exists()


def test_a_further_backup_is_refused_where_the_disk_is_full(site, fake, monkeypatch):
    fake.seed(site)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 1 << 20))
    with pytest.raises(SpaceError, match="a backup of app/files"):
        site.backup()
    assert fake.verbs() == ["cat"]


def test_a_restore_is_refused_where_it_has_no_room(site, fake, monkeypatch):
    large = fake.snapshot(site, summary={"total_files_processed": 3, "total_bytes_processed": 200 << 20})
    fake.seed(site, large)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 100 << 20))
    with pytest.raises(SpaceError, match="209,715,200 bytes"):
        site.restore_test()
    assert "restore" not in fake.verbs()
    assert site.homelab.evidence().ledger("app/files", "default").records == ()
