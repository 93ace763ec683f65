"""Pruning with the real restic. A year of snapshots and the matrix of kills are in `slow/test_prune_kill.py`."""

import random
import subprocess

import pytest
from kills import copy_site
from prunings import KILLED, history, keeping, kill_restic_prune, leftover, listed

from backup_orchestration.core.errors import RepositoryLockedError
from backup_orchestration.core.readers import reading
from backup_orchestration.operations.prune import plan_for, prune
from backup_orchestration.providers import _restic_cli
from backup_orchestration.providers._restic_prune import drop_parts
from backup_orchestration.stores.directory import DirectoryObjects

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]

TARGET = "app/files"


@pytest.fixture(scope="module")
def grown(tmp_path_factory, new_site, start_repository):
    """`app/files` keeps two; there are five, and the second newest is verified."""
    site = start_repository(new_site(tmp_path_factory.mktemp("grown")), TARGET).declare(keeping(keep_last=2))
    made = history(site, random.Random(1), [5, 4, 3, 2, 1])
    assert site.restore_test(key=made[3].key).passed
    return site


@pytest.fixture
def site(grown, tmp_path, dagster_home):
    return copy_site(grown, tmp_path, dagster_home)


def repository(site):
    return site.root / "backups" / "restic-app-files"


def test_what_is_left_is_what_was_planned_whole_and_nothing_besides(site, restic):
    part = repository(site) / "data" / "00" / f"{'0' * 64}-tmp-123456"
    part.parent.mkdir(exist_ok=True)
    part.write_bytes(b"left by a restic that was killed")
    before, packs = listed(site), len(site.packs())
    done = prune(site.homelab, TARGET, force=3)
    assert [item.key for item in done.report.removed] == before[2::-1]
    assert listed(site) == before[3:]
    assert len(site.packs()) < packs
    assert leftover(site, restic) == ([], [])
    assert all(site.restore_test(key=key).passed for key in before[3:])
    assert prune(site.homelab, TARGET).report.removed == ()


def test_a_snapshot_file_that_restic_skips_halts_it(site):
    (repository(site) / "snapshots" / ("c" * 64)).write_bytes(b"no snapshot")
    found = plan_for(site.homelab, TARGET)
    assert found.halted == ("restic cannot read the snapshot file cccccccc",)
    assert prune(site.homelab, TARGET, force=3).report is None
    assert len(listed(site)) == 5


def test_what_is_being_restored_stays(site):
    oldest = site.homelab.repository(TARGET).snapshots()[0]
    with reading(site.homelab.home / "locks", oldest.repository, oldest, timeout=5):
        assert plan_for(site.homelab, TARGET).decisions[-1].reasons == ("being restored",)
        prune(site.homelab, TARGET)
    assert listed(site)[0] == oldest.key and len(listed(site)) == 3


def test_a_restic_of_elsewhere_that_reads_keeps_it_off(site, restic, until, monkeypatch):
    """It holds its lock in the repository, and none of this host."""
    monkeypatch.setattr(_restic_cli, "_READERS_MINUTES", 0)
    part = repository(site) / "data" / f"{'0' * 64}-tmp-1"
    part.write_bytes(b"being written")
    env = {"RESTIC_REPOSITORY": str(repository(site)), "RESTIC_PASSWORD_FILE": str(site.root / "secrets" / "password")}
    feed = subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE)
    argv = [str(restic), "backup", "--no-cache", "--stdin", "--quiet"]
    other = subprocess.Popen(argv, stdin=feed.stdout, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: list((repository(site) / "locks").iterdir()))
        with pytest.raises(RepositoryLockedError):
            prune(site.homelab, TARGET, force=3)
        assert len(listed(site)) == 5
        assert drop_parts(DirectoryObjects(repository(site))) == 0 and part.exists()
    finally:
        for process in (other, feed):
            process.kill()
            process.wait()
        feed.stdout.close()


def test_it_is_killed_and_repeated(grown, tmp_path, dagster_home, restic, matrix):
    matrix(KILLED, *kill_restic_prune(grown, tmp_path, dagster_home, restic, random.Random(3), 0.8))
