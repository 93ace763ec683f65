"""Operations on a mirror in a process of their own, killed at the moment of a request."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

from backup_orchestration.core.progress import silent
from backup_orchestration.operations.prune import plan_for, prune
from backup_orchestration_tests.mirrors import MirrorSite
from backup_orchestration_tests.running import wait_until
from backup_orchestration_tests.tools.faulty_store import FaultyStore

HEADING = "Mirrors killed at the moment of a request"
# Every run has an id of its own, also the one after a run that was killed when its snapshot was complete.
CODE = """
import sys
from pathlib import Path
from uuid import uuid4
from backup_orchestration.homelab.load import load
from backup_orchestration.operations.backup import backup
from backup_orchestration.operations.prune import prune
from backup_orchestration.operations.restore_test import restore_test
homelab = load(Path(sys.argv[1]), {})
if sys.argv[2] == "snapshot":
    backup(homelab, "app/files", str(uuid4()))
elif sys.argv[2] == "restore test":
    restore_test(homelab, "app/files", homelab.repository("app/files").latest().key, str(uuid4()))
else:
    prune(homelab, "app/files", force=2)
"""
RETENTION = "retention=Retention(keep_last=1, keep_daily=0, keep_weekly=0, keep_monthly=0), "


def prepared(root, moto, objects=20, days=(5, 4, 3)):
    """A mirror with snapshots, the newest verified, whose stores are behind one that counts."""
    mirror = MirrorSite(root, moto.url)
    for number in range(objects):
        mirror.put(f"k/{number:02}", os.urandom(300), Metadata={"n": str(number)})
    for ago in days:
        mirror.site.clock = lambda ago=ago: datetime.now(UTC) - timedelta(days=ago)
        mirror.backup()
    mirror.site.clock = None
    assert mirror.restore_test().passed
    services = root / "services.py"
    front = FaultyStore(moto.port)
    mirror.configure(source_url=front.url, backups_url=front.url)
    services.write_text(services.read_text().replace("BackupPolicy(\n", f"BackupPolicy(\n{RETENTION}"))
    return mirror, front


def run(mirror, verb):
    return subprocess.Popen(
        [sys.executable, "-c", CODE, str(mirror.root / "homelab.toml"), verb],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def requests_of(root, moto, verb):
    """How many requests an undisturbed run makes."""
    mirror, front = prepared(root, moto)
    done = run(mirror, verb)
    said = done.communicate()[1]
    front.close()
    assert done.returncode == 0, said.decode()
    return len(front.asked)


def kill_and_repeat(root, moto, verb, moment, **small):
    """Kill a run at its so-manyeth request, look, and run it again; returns what was found."""
    mirror, front = prepared(root, moto, **small)
    before = [item.key for item in mirror.repository.snapshots()]
    front.asked.clear()
    victim = run(mirror, verb)
    wait_until(lambda: len(front.asked) >= moment or victim.poll() is not None)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    found = [item.key for item in mirror.repository.snapshots()]
    kept = before if verb != "prune" else before[-1:]
    assert set(kept) <= set(found)
    for key in found:  # whatever counts as a snapshot is one
        assert mirror.restore_test(key).passed
    begun = [line.partition(" ")[0] for line in mirror.repository.health()]
    if verb != "prune":
        again = run(mirror, verb)
        said = again.communicate()[1]
        assert again.returncode == 0, said.decode()
    mirror.site.clock = lambda: datetime.now(UTC) + timedelta(days=2)  # what was begun is old enough to go
    prune(mirror.homelab, "app/files", silent, force=len(plan_for(mirror.homelab, "app/files").removed))
    mirror.site.clock = None
    assert mirror.repository.health() == []
    left = {item.key for item in mirror.repository.snapshots()}
    assert {name.split("/")[2] for name in mirror.stored()} == {"REPOSITORY", *left}
    for key in left:
        assert mirror.restore_test(key).passed
    for place in ("labs", "staging/app-files"):
        assert not list((mirror.root / ".homelab" / place).glob("*"))
    front.close()
    return f"request {moment}", f"{len(found) - len(before):+} snapshots", ", ".join(begun) or "nothing begun"
