"""A database that a program writes all the time: what is counted is what is stored, every time."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from backup_orchestration.core import manifest
from backup_orchestration.providers.base import RestoreSpec

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]

# Two tables that grow together: a copy from the middle of a transaction would show.
WRITER = """
import sqlite3, sys, time
first = True
live = sqlite3.connect(sys.argv[1], isolation_level=None)
live.execute("PRAGMA journal_mode = " + sys.argv[2])
live.execute("PRAGMA busy_timeout = 20000")
live.execute("PRAGMA synchronous = OFF")
live.execute("CREATE TABLE left_one (a INTEGER PRIMARY KEY AUTOINCREMENT, b BLOB)")
live.execute("CREATE TABLE right_one (a INTEGER PRIMARY KEY AUTOINCREMENT, b BLOB)")
while True:
    live.execute("BEGIN IMMEDIATE")
    live.execute("INSERT INTO left_one (b) VALUES (randomblob(200))")
    live.execute("INSERT INTO right_one (b) VALUES (randomblob(200))")
    if sys.argv[3] == "shrinks":
        live.execute("DELETE FROM left_one WHERE a % 7 = 0")
        live.execute("DELETE FROM right_one WHERE a % 7 = 0")
    live.execute("COMMIT")
    if first:
        print("writing", flush=True)
        first = False
    time.sleep(0.004)
"""


@pytest.fixture
def written(site, start_repository, request):
    """`app/db`, written by a process of its own until the test ends."""
    mode, shape = request.param
    site.declare('BackupPolicy(target="app/db", source=Sqlite(path=str(HERE / "app.db")))')
    start_repository(site, "app/db")
    argv = [sys.executable, "-I", "-c", WRITER, str(site.root / "app.db"), mode, shape]
    writer = subprocess.Popen(argv, stdout=subprocess.PIPE)
    with writer:
        assert writer.stdout.readline() == b"writing\n"
        yield site
        assert writer.poll() is None, "the writer gave up"
        writer.send_signal(signal.SIGKILL)


def committed(site):
    with closing(sqlite3.connect(site.root / "app.db", timeout=20)) as database:
        return database.execute("SELECT max(a) FROM left_one").fetchone()[0]


def restored_counts(site, snapshot, directory):
    """What the snapshot really holds, and what its manifest says."""
    directory.mkdir()
    site.homelab.repository("app/db").restore(snapshot, RestoreSpec(directory), lambda update: None)
    (database,) = (path for path in snapshot.paths if path.endswith(".db"))
    (listed,) = (path for path in snapshot.paths if path.endswith(manifest.FILENAME))
    header, _, _ = manifest.read(directory / listed.lstrip("/"))
    with closing(sqlite3.connect(directory / database.lstrip("/"))) as copy:
        tables = ("left_one", "right_one")
        counts = {table: copy.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}
    return counts, header.rows[database]


@pytest.mark.parametrize(
    "written", [("WAL", "grows"), ("DELETE", "shrinks")], indirect=True, ids=["write-ahead log", "rollback journal"]
)
def test_ten_rounds(written, tmp_path):
    before = 0
    for turn in range(10):
        least = committed(written)
        snapshot = written.backup("app/db")
        evidence = written.restore_test("app/db", snapshot.key)
        assert evidence.passed, evidence.reason
        if turn % 4 == 1:
            counts, listed = restored_counts(written, snapshot, tmp_path / f"restored-{turn}")
            assert counts == listed
            assert counts["left_one"] == counts["right_one"] == evidence.counts["rows"] / 2
        assert before < least < committed(written), "nothing was written meanwhile"
        before = least
