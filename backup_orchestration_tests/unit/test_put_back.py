"""The way back of a database in a file: run as it is written, by a shell."""

import subprocess
from datetime import UTC, datetime

import pytest

from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.core.sources import Sqlite
from backup_orchestration.operations.put_back import way_back


@pytest.fixture
def steps(tmp_path):
    """Runs them; the database has a name that a shell would read."""
    live, there = tmp_path / "it's $HOME.db", tmp_path / "there"
    there.mkdir()
    (there / "copy.db").write_text("restored")
    policy = BackupPolicy(target="app/db", source=Sqlite(path=live))
    snapshot = Snapshot("app/db", "restic", "r", "i", "s" * 8, datetime.now(UTC), 8, paths=("/copy.db",))
    script = "\n".join(way_back(policy, snapshot, there).steps)
    return live, lambda: subprocess.run(["sh", "-c", script], check=False).returncode


def test_what_is_there_is_kept_with_its_journals(steps):
    live, run = steps
    live.write_text("old")
    live.chmod(0o640)
    live.with_name(f"{live.name}-wal").write_text("journal")
    assert run() == 0
    assert (live.read_text(), live.stat().st_mode & 0o777) == ("restored", 0o640)
    assert live.with_name(f"{live.name}.before").read_text() == "old"
    assert live.with_name(f"{live.name}-wal.before").read_text() == "journal"
    assert not live.with_name(f"{live.name}-wal").exists()


def test_what_was_kept_is_never_overwritten(steps):
    live, run = steps
    live.write_text("old")
    run()
    live.write_text("newer")
    run()
    assert live.read_text() == "newer" and live.with_name(f"{live.name}.before").read_text() == "old"


def test_it_works_where_nothing_is_left(steps):
    live, run = steps
    assert run() == 0 and live.read_text() == "restored"
