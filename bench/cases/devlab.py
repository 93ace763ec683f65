"""The example lab's restic targets, backed up and restore-tested, beside a sequential script of the same tools.

Those that the script knows: PostgreSQL has a bench of its own, and Radicale's test starts an application.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.measure import Report, Result, Taken, in_turns, middle, run
from bench.site import HOMELAB, opening, restic

_GOAL = 0.7
_TARGETS = ("certs/ca", "gitlab/config", "gitlab/repositories", "grafana/db", "meilisearch/dump")
_CHOSEN = [word for target in _TARGETS for word in ("--target", target)]
_SCRIPT = Path(__file__).parent.parent / "devlab_script.py"


def measure(room: Path, rounds: int) -> Report:
    subprocess.run([HOMELAB, "devlab", "up"], cwd=room, check=True, capture_output=True)
    try:
        status = subprocess.run([HOMELAB, "devlab", "status", "--json"], cwd=room, check=True, capture_output=True)
        lab = json.loads(status.stdout)
        _start(room, lab)
        store, secrets = Path(lab["store"]["path"]), Path(lab["home"]) / "secrets"
        cost = opening(store / "backups" / "restic-certs-ca", secrets / "backup-password")
        taken = in_turns({"homelab": lambda: _homelab(room), "script": lambda: _script(room, lab)}, rounds)
    finally:
        subprocess.run([HOMELAB, "devlab", "down", "--purge"], cwd=room, check=True, capture_output=True)
    ours, bare = (middle(runs) for runs in taken.values())
    return Report(
        "the devlab: backup run and restore-test of five targets, over a sequential script of the same tools",
        f"warm: repositories with snapshots, in the lab's S3 store over TLS;\nservices, UI and daemon run; {cost}.",
        taken,
        [Result("ratio", ours / bare, "x", _GOAL)],
    )


def _start(room: Path, lab: dict[str, Any]) -> None:
    """A first snapshot of each target, and a copy of its repository for the script: the same keys, the same cost."""
    run([HOMELAB, "backup", "run", *_CHOSEN], cwd=room)
    bucket = Path(lab["store"]["path"]) / "backups"
    run([HOMELAB, "devlab", "down"], cwd=room)  # the store remembers what lies in its folders
    for repository in list(bucket.glob("restic-*")):
        shutil.copytree(repository, bucket / f"script-{repository.name}")
    subprocess.run([HOMELAB, "devlab", "up"], cwd=room, check=True, capture_output=True)
    _script(room, lab)


def _homelab(room: Path) -> Taken:
    taken = run([HOMELAB, "backup", "run", *_CHOSEN], cwd=room)
    return taken + run([HOMELAB, "backup", "restore-test", *_CHOSEN], cwd=room)


def _script(room: Path, lab: dict[str, Any]) -> Taken:
    return run([sys.executable, _SCRIPT, lab["home"], restic(), json.dumps(lab)], cwd=room)
