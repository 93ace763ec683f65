"""One of each kind of `slow/test_pg_kill.py`; and a server that is killed during its backup."""

from __future__ import annotations

import random
import signal
import threading

import pytest
from pg_kills import KILLED, STAGES, kill_backup, kill_restore_test, killed_shop

from backup_orchestration.core.errors import HomelabError
from backup_orchestration.core.progress import Update
from backup_orchestration.providers.base import BackupSpec

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("pgbackrest"), pytest.mark.xdist_group("postgres")]


@pytest.fixture(scope="module")
def shop(tmp_path_factory, new_site, postgres_cluster):
    with killed_shop(tmp_path_factory.mktemp("shop"), new_site, postgres_cluster) as made:
        yield made


def test_a_killed_backup_leaves_nothing_behind(pg_copy, matrix):
    matrix(KILLED, "backup", *kill_backup(pg_copy, random.Random(0)))


def test_a_killed_restore_test_leaves_no_server(shop, tmp_path, dagster_home, matrix):
    stage = STAGES["recovery"]
    matrix(KILLED, *kill_restore_test(shop, tmp_path, dagster_home, stage, "worker", signal.SIGKILL, 0.2))


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
