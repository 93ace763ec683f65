"""A server that is killed during its backup. What else is killed is so in `slow/test_pg_kill.py`."""

from __future__ import annotations

import threading

import pytest

from backup_orchestration.core.errors import HomelabError
from backup_orchestration.core.progress import Update
from backup_orchestration.providers.base import BackupSpec

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("pgbackrest"), pytest.mark.xdist_group("postgres")]


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
