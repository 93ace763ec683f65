"""Backups and restore tests of a PostgreSQL cluster that are killed at any moment, and what is left then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kills import LEAVES, begin, copy_site, gone, known, left, runs
from running import Brake, parent, tool, wait_until

from backup_orchestration_tests.postgres_cluster import wait
from backup_orchestration_tests.tools.pg_labs import TARGET, drop_shop, make_shop

KILLED = "Killed in flight: PostgreSQL"
PROGRAM = """\
import sys
from pathlib import Path
from backup_orchestration.core.postgres import find_programs
from backup_orchestration_tests.postgres_cluster import RunningCluster
from backup_orchestration_tests.tools.pg_sites import PgSite
data, socket, root = map(Path, sys.argv[1:4])
site = PgSite(root, RunningCluster(data, socket, find_programs()))
print("ready", flush=True)
site.backup(run_id=sys.argv[4], create=False)
"""
POLICY = """\
BackupPolicy(target="shop/db", provider="pgbackrest", source=Postgres(data={data!r}, socket={socket!r}),
    restore_test=RestoreTest(probes=[Probe(name=name) for name in ("sql", "amcheck", "checksums")]))"""

# So that whoever reads all pages can be met while they are read.
FILLER = "CREATE TABLE filler AS SELECT repeat('x', 1000) AS x FROM generate_series(1, 120000);\n"


@dataclass(frozen=True)
class Stage:
    """Part of a restore test: the program that works, an argument by which it is known, and its longest wait."""

    name: str
    program: str
    argument: str
    seconds: float


# Delays that a braked program surely outlives.
STAGES = {
    stage.name: stage
    for stage in (
        Stage("restore", "pgbackrest", "restore", 0.5),
        Stage("recovery", "postgres", "-D", 0.5),
        Stage("probe sql", "psql", "--host", 0.05),
        Stage("probe amcheck", "pg_amcheck", "--all", 0.1),
        Stage("probe checksums", "pg_checksums", "--check", 0.05),
    )
}


@contextmanager
def killed_shop(root, new_site, cluster):
    """A site with a snapshot of `shop/db` that is not tested yet, and every probe of a cluster."""
    (root / "evidence").mkdir()
    made = make_shop(new_site(root), cluster, root, schema=FILLER)
    paths = {"data": str(cluster.data), "socket": str(cluster.socket)}
    yield made.site.declare(POLICY.format(**paths))
    drop_shop(cluster)


def kill_restore_test(shop, root, home, stage, who, number, delay):
    """Kill the command or its worker in a stage of a restore test, look at what is left, and run it again."""
    site = copy_site(shop, root, home)
    before = known(site, TARGET)
    command = begin(site, "restore-test", "--all")
    with _in_stage(site, stage, delay) as pid:
        os.kill(command.process.pid if who == "command" else parent(pid), number)
        code = command.end()
    assert code == (-number if (who, number) == ("command", signal.SIGKILL) else 1), command.said()
    assert code < 0 or "failed: " in command.said() or "interrupted: " in command.said()
    gone(site)
    found, sockets = left(site), _sockets(site)
    if set(found.get("temporary", ())) <= {path.name for path in sockets}:
        found.pop("temporary", None)  # part of the lab
    assert set(found) <= LEAVES.get((who, number), set()), found
    assert known(site, TARGET) == before
    following = begin(site, "restore-test", "--all")
    assert following.end() == 0, following.said()
    assert "waiting" not in following.said()
    after = known(site, TARGET)
    assert (after.tests, after.point) == (before.tests + 1, before.snapshots[-1])
    assert not left(site) and not any(path.exists() for path in sockets)
    gone(site)
    assert runs(site)[0][0] == "SUCCESS" and runs(site)[1] == 0
    return stage.name, who, number.name, f"exit code {code}", ", ".join(found) or "nothing"


@contextmanager
def _in_stage(site, stage, delay):
    """The process id of the stage's program, so many seconds after its start; braked in the block.

    One that has ended before it is met gives way to the next: `psql` is called often.
    """
    while True:
        pid = wait_until(lambda: tool(site, stage.argument, stage.program))
        with Brake(pid) as brake:
            brake.hard()
            time.sleep(delay)
            with brake.held():
                met = tool(site, stage.argument, stage.program) == pid
            if met:
                yield pid
                return


def _sockets(site):
    """Where the labs that are left have their sockets: in a short path, see `throwaway.process`."""
    names = [lab.name.rpartition("-")[2] for lab in (site.root / ".homelab" / "labs").glob("*")]
    return [place / f"homelab-{name}" for name in names for place in (Path("/tmp"), site.root / "tmp")]


def kill_backup(pg_copy, chance):
    """Kill who drives pgBackRest at a moment of a backup; nothing of it runs or holds, and the next one works."""
    site, _, _ = pg_copy
    site.archive()
    started = time.monotonic()
    site.backup(create=False)
    moment = chance.random() * (time.monotonic() - started)
    while not _killed(site, moment):
        moment /= 2  # it had ended before: backups are not always as slow
    # The kernel tells pgBackRest; nothing of it is left.
    wait(lambda: not working_for(site.root))

    snapshot = site.backup(create=False)
    listed = site.repository.snapshots()
    assert listed[-1] == snapshot
    assert len({item.run_id for item in listed}) == len(listed)
    assert site.cluster.one("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgBackRest%'") == 0
    report = site.restore(snapshot)
    assert report.bytes >= snapshot.size_bytes
    return "its driver", "SIGKILL", f"after {moment:.2f} s", "nothing; the next one was restored"


def _killed(site, moment):
    """Begin a backup in a process of its own and kill that so many seconds later; False if it had ended before."""
    arguments = [str(site.cluster.data), str(site.cluster.socket), str(site.root), os.urandom(8).hex()]
    command = [sys.executable, "-c", PROGRAM, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout.readline() == b"ready\n"
        time.sleep(moment)
        child.kill()
    assert child.returncode in (0, -signal.SIGKILL)
    return child.returncode < 0


def working_for(root: Path) -> list[int]:
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
