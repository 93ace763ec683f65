"""SIGKILL at seeded moments of a backup: nothing is left that runs or holds, and the next one works."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from backup_orchestration.core.errors import HomelabError
from backup_orchestration.core.progress import Update
from backup_orchestration.providers.base import BackupSpec
from backup_orchestration_tests.postgres_cluster import wait

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("pgbackrest"), pytest.mark.xdist_group("postgres")]

PROGRAM = """\
import sys
from pathlib import Path
from backup_orchestration.core.postgres import find_programs
from backup_orchestration_tests.postgres_cluster import RunningCluster
from backup_orchestration_tests.tools.pg_sites import PgSite
data, socket, root = map(Path, sys.argv[1:])
site = PgSite(root, RunningCluster(data, socket, find_programs()))
print("ready", flush=True)
site.backup(run_id="killed", create=False)
"""
# Of ten seeded moments, those that are tried on every run; the others by KILLS=10.
KILLS = int(os.environ.get("KILLS", "2"))


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_killed_backup_leaves_nothing_behind(pg_copy, seed, matrix):
    site, _, _ = pg_copy
    site.archive()
    started = time.monotonic()
    site.backup(create=False)
    whole = time.monotonic() - started
    moment = random.Random(seed).random() * 0.7 * whole  # it is not always as slow

    command = [sys.executable, "-c", PROGRAM, str(site.cluster.data), str(site.cluster.socket), str(site.root)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout.readline() == b"ready\n"
    time.sleep(moment)
    child.kill()
    child.wait()
    child.stdout.close()
    # The kernel tells pgBackRest; nothing of it is left.
    wait(lambda: not running(site.root))
    ended = child.returncode == -signal.SIGKILL

    snapshot = site.backup(create=False)
    listed = site.repository.snapshots()
    assert listed[-1] == snapshot
    assert len({item.run_id for item in listed}) == len(listed)
    assert site.cluster.one("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgBackRest%'") == 0
    report = site.restore(snapshot)
    assert report.bytes >= snapshot.size_bytes
    matrix(
        "killed pgBackRest backups", f"seed {seed}", "killed" if ended else "had ended before", "next backup: restored"
    )


def test_a_server_that_is_killed_fails_its_backup_and_the_next_one_works(pg_copy):
    site, _, incremental = pg_copy
    site.archive()
    began = threading.Event()
    failed = []

    def tell(update: Update) -> None:
        began.set()

    def backup() -> None:
        try:
            site.repository.backup(BackupSpec("broken", create=False, reread=True), tell)
        except HomelabError as error:
            failed.append(error)

    thread = threading.Thread(target=backup)
    thread.start()
    assert began.wait(60)
    site.cluster.pg_ctl("stop", "--mode", "immediate")
    thread.join()
    site.cluster.pg_ctl("start", "--log", str(site.cluster.socket / "server.log"))
    assert failed
    assert site.repository.latest().key == incremental.key
    assert site.backup(create=False, reread=True).key[-1] == "F"


def running(root: Path) -> list[int]:
    """Processes that name a file below this directory, but for what the server starts to archive."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if any(str(root / "home").encode() in word for word in words) and b"archive-push" not in words:
            found.append(int(entry.name))
    return found
