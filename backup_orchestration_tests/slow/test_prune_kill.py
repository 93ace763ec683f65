"""A year of snapshots is pruned with the real tools, and pruning is killed at any moment of its time."""

import random
import shutil
import time
from datetime import UTC, datetime, timedelta

import pytest
from kills import copy_site
from prunings import (
    KILLED,
    history,
    keeping,
    kill_pg_prune,
    kill_restic_prune,
    leftover,
    listed,
    mapped,
    pg_plan,
    pg_prune,
)

from backup_orchestration.core.policy import Retention
from backup_orchestration.core.retention import Circumstances, plan
from backup_orchestration.operations.prune import plan_for, prune
from backup_orchestration_tests.postgres_cluster import recovered
from backup_orchestration_tests.tools.pg_sites import PgSite

pytestmark = [pytest.mark.tools]

TARGET = "app/files"
MOMENTS = pytest.mark.parametrize("moment", range(10))
KEPT = 7
COUNTS = {"keep_last": 3, "keep_daily": 4, "keep_weekly": 3, "keep_monthly": 6}


def year(chance):
    """Days ago of 30 snapshots: some within hours, some after weeks."""
    return sorted({chance.uniform(0.1, 3) ** 5.3 for _ in range(30)})


@pytest.fixture(scope="module")
def grown(tmp_path_factory, new_site, start_repository):
    """30 snapshots over a year; one of the newest is verified."""
    site = start_repository(new_site(tmp_path_factory.mktemp("grown")), TARGET).declare(keeping(**COUNTS))
    made = history(site, random.Random(1), year(random.Random(1)))
    assert made[-1].taken_at - made[0].taken_at > timedelta(days=200)
    assert site.restore_test(key=made[-2].key).passed
    return site


def test_a_year_of_restic(grown, tmp_path, dagster_home, restic, matrix):
    site = copy_site(grown, tmp_path, dagster_home)
    wanted = plan_for(site.homelab, TARGET)
    assert len(wanted.removed) > 10
    prune(site.homelab, TARGET, force=len(wanted.removed))
    assert listed(site) == [item.key for item in reversed(wanted.kept)]
    assert leftover(site, restic) == ([], [])
    assert all(site.restore_test(key=key).passed for key in listed(site))
    matrix("A year, pruned", "restic", f"{len(wanted.removed)} removed", f"{len(wanted.kept)} kept, each restored")


@pytest.fixture(scope="module")
def restic_seconds(grown, tmp_path_factory, dagster_home):
    """How long a whole pruning takes here."""
    site = copy_site(grown, tmp_path_factory.mktemp("timed"), dagster_home)
    count = len(plan_for(site.homelab, TARGET).removed)
    started = time.monotonic()
    prune(site.homelab, TARGET, force=count)
    return time.monotonic() - started


@MOMENTS
def test_restic_is_killed(moment, grown, restic_seconds, tmp_path, dagster_home, restic, chance, matrix):
    matrix(KILLED, *kill_restic_prune(grown, tmp_path, dagster_home, restic, chance, restic_seconds))


@pytest.fixture(scope="module")
def pg_grown(tmp_path_factory, postgres_cluster, pgbackrest):
    """30 real sets, ten fulls with two incrementals each."""
    site = PgSite(tmp_path_factory.mktemp("pg-grown") / "site", postgres_cluster, source={"backup": "incr"}).archive()
    return site, [site.backup(reread=number % 3 == 0) for number in range(30)]


def copy_of(kept, root):
    site = PgSite(root / "site", kept.cluster, source=kept.source)
    shutil.copytree(kept.root / "backups", site.root / "backups", symlinks=True)
    return site


@pytest.fixture
def pg_site(pg_grown, tmp_path):
    return copy_of(pg_grown[0], tmp_path)


@pytest.fixture(scope="module")
def pg_seconds(pg_grown, tmp_path_factory):
    """How long a whole pruning takes here."""
    site = copy_of(pg_grown[0], tmp_path_factory.mktemp("timed"))
    wanted = pg_plan(site, KEPT)
    started = time.monotonic()
    pg_prune(site, wanted)
    return time.monotonic() - started


@pytest.mark.xdist_group("postgres")
def test_a_year_of_pgbackrest(pg_site, matrix):
    """The sets are of one hour; the plan is made as if they were of a year."""
    now = datetime.now(UTC)
    days = [number**1.73 for number in range(30, 0, -1)]
    made = mapped(pg_site.repository.snapshots(), [now - timedelta(days=ago) for ago in days])
    wanted = plan("shop/db", made, Retention(**COUNTS), now, Circumstances(verified={made[-1].snapshot_id}))
    assert wanted.removed
    pg_prune(pg_site, wanted)
    left = pg_site.repository.snapshots()
    assert [item.snapshot_id for item in left] == [item.snapshot_id for item in reversed(wanted.kept)]
    for item in left:
        report = pg_site.restore(item, name=f"lab-{item.snapshot_id}")
        with recovered(report.root) as lab:
            assert lab.one(f"SELECT count(*) FROM homelab.canary WHERE run_id = '{item.run_id}'") == 1
        shutil.rmtree(report.root)
    matrix("A year, pruned", "pgBackRest", f"{len(wanted.removed)} removed", f"{len(left)} kept, each restored")


@pytest.mark.xdist_group("postgres")
@MOMENTS
def test_pgbackrest_is_killed(moment, pg_site, pg_seconds, chance, matrix):
    matrix(KILLED, *kill_pg_prune(pg_site, chance, pg_seconds, KEPT))
