"""Prunings of real repositories, whole and killed, and what must be left of them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kills import copy_site

from backup_orchestration.core.commands import Command, check
from backup_orchestration.core.policy import Retention
from backup_orchestration.core.progress import silent
from backup_orchestration.core.retention import Circumstances, plan
from backup_orchestration.operations.prune import plan_for, prune

KILLED = "Pruning killed at a moment of its time, and repeated"
RESTIC_PROGRAM = """\
import sys
from pathlib import Path
from backup_orchestration.homelab.load import load
from backup_orchestration.operations.prune import plan_for, prune
homelab = load(Path(sys.argv[1]))
count = len(plan_for(homelab, "app/files").removed)
print("ready", flush=True)
prune(homelab, "app/files", force=count)
"""
PG_PROGRAM = """\
import sys
from pathlib import Path
from backup_orchestration.core.postgres import find_programs
from backup_orchestration_tests.postgres_cluster import RunningCluster
from backup_orchestration_tests.prunings import pg_plan, pg_prune
from backup_orchestration_tests.tools.pg_sites import PgSite
data, socket, root = map(Path, sys.argv[1:4])
site = PgSite(root, RunningCluster(data, socket, find_programs()))
wanted = pg_plan(site, int(sys.argv[4]))
print("ready", flush=True)
pg_prune(site, wanted)
"""


def keeping(**counts: int) -> str:
    """`app/files` with these counts and no others."""
    whole = {**dict.fromkeys(("keep_last", "keep_daily", "keep_weekly", "keep_monthly"), 0), **counts}
    told = ", ".join(f"{name}={count}" for name, count in whole.items())
    retention = f'__import__("backup_orchestration.core.policy", fromlist=["x"]).Retention({told})'
    return f'BackupPolicy(target="app/files", source=Files(path=str(HERE / "data")), retention={retention})'


def history(site, chance: random.Random, days: list[float], kilobytes=64):
    """Snapshots taken so many days ago, oldest first, each with data that no other one has."""
    made = []
    for ago in sorted(days, reverse=True):
        (site.root / "data" / "sub" / "two.bin").write_bytes(chance.randbytes(kilobytes << 10))
        site.clock = lambda ago=ago: datetime.now(UTC) - timedelta(days=ago)
        made.append(site.backup())
    site.clock = None
    return made


def listed(site):
    return [item.key for item in site.homelab.repository("app/files").snapshots()]


def leftover(site, restic):
    """What restic finds that no snapshot needs, and whether all that they need is whole."""
    env = {
        "RESTIC_REPOSITORY": str(site.root / "backups" / "restic-app-files"),
        "RESTIC_PASSWORD_FILE": str(site.root / "secrets" / "password"),
    }
    check(Command([str(restic), "check", "--read-data", "--no-cache"], 120, env))
    told = check(Command([str(restic), "prune", "--dry-run", "--no-cache"], 120, env)).stdout
    parts = [path.name for path in (site.root / "backups").rglob("*-tmp-*")]
    return parts, [line.strip() for line in told.splitlines() if "to delete:" in line and " 0 blobs" not in line]


def kill_restic_prune(site, root, home, restic, chance, seconds):
    """Kill a pruning at a moment of its time, look, and repeat it; returns what was found."""
    copied = copy_site(site, root, home)
    wanted = [item.key for item in reversed(plan_for(copied.homelab, "app/files").kept)]
    before = listed(copied)
    moment = chance.random() * seconds
    ended = _killed([sys.executable, "-c", RESTIC_PROGRAM, str(root / "homelab.toml")], moment)
    between = listed(copied)
    assert set(wanted) <= set(between) <= set(before)
    again = plan_for(copied.homelab, "app/files")
    assert [item.key for item in reversed(again.kept)] == wanted
    prune(copied.homelab, "app/files", force=len(again.removed) or None)
    assert listed(copied) == wanted
    assert leftover(copied, restic) == ([], [])
    state = "all listed" if between == before else "forgotten" if between == wanted else "some forgotten"
    return "restic", "had ended" if ended else "killed", state, "as planned"


def pg_plan(site, keep_last):
    """What to remove where so many snapshots are kept, and all of them are verified."""
    made = site.repository.snapshots()
    counts = Retention(keep_last=keep_last, keep_daily=0, keep_weekly=0, keep_monthly=0)
    around = Circumstances(verified={item.snapshot_id for item in made})
    return plan("shop/db", made, counts, datetime.now(UTC), around)


def pg_prune(site, wanted):
    return site.repository.prune(wanted, silent)


def kill_pg_prune(site, chance, seconds, keep_last):
    """As `kill_restic_prune`; returns what was found."""
    wanted = [item.key for item in pg_plan(site, keep_last).kept]
    before = [item.key for item in site.repository.snapshots()]
    places = [str(path) for path in (site.cluster.data, site.cluster.socket, site.root)]
    ended = _killed([sys.executable, "-c", PG_PROGRAM, *places, str(keep_last)], chance.random() * seconds)
    between = [item.key for item in site.repository.snapshots()]
    assert set(wanted) <= set(between) <= set(before)
    again = pg_plan(site, keep_last)
    assert [item.key for item in again.kept] == wanted
    pg_prune(site, again)
    assert [item.key for item in site.repository.snapshots()] == sorted(wanted)
    assert site.repository.unlisted() == []
    assert lying(site) == sorted(item.snapshot_id for item in again.kept)
    assert first_segment(site) == oldest_needed(site)
    state = "all listed" if between == before else "as planned" if set(between) == set(wanted) else "some gone"
    return "pgBackRest", "had ended" if ended else "killed", state, "as planned"


def lying(site):
    """Names of the sets whose files are there."""
    return sorted(path.name for path in (site.files / "backup" / "shop-db").glob("2*") if path.is_dir())


def first_segment(site):
    """The first WAL segment in the archive."""
    found = (site.files / "archive" / "shop-db").rglob("0*-*")
    return min(path.name.partition("-")[0] for path in found if path.is_file())


def oldest_needed(site):
    """The WAL segment that the oldest set starts at."""
    with site.repository._cli() as cli:
        return min(item["archive"]["start"] for item in cli.info()["backup"])


def mapped(snapshots, moments):
    """The same snapshots as if they were of these moments."""
    return [replace(item, taken_at=moment) for item, moment in zip(snapshots, moments, strict=True)]


def _killed(command, moment):
    """Start a program, kill it so long after it says that it is ready; whether it had ended before."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    child = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, env=env)
    assert child.stdout.readline() == b"ready\n"
    time.sleep(moment)
    child.kill()
    child.wait()
    child.stdout.close()
    time.sleep(0.2)  # the kernel tells the tool
    return child.returncode != -signal.SIGKILL
