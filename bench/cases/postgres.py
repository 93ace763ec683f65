"""What a restore test of a 500 MB database costs over bare pgBackRest, a server, and the same questions."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from backup_orchestration.core import tools
from backup_orchestration.core.postgres import find_programs
from backup_orchestration.providers._pgbackrest_cli import PGBACKREST
from bench.cluster import TARGET, cluster, configuration, declare, fill
from bench.measure import Report, Result, Taken, in_turns, middle, run
from bench.site import make_site

_GOAL = 1.25
_ROWS = 1_300_000
_SCRIPT = Path(__file__).parent.parent / "postgres_script.py"


def measure(room: Path, rounds: int) -> Report:
    site = make_site(room, [])
    declare(site)
    with cluster(site) as server:
        size = fill(server, _ROWS)
        site.homelab("backup", "run", "--all")
    programs, pgbackrest = find_programs(), tools.find(PGBACKREST)
    stanza = TARGET.replace("/", "-")

    def bare() -> Taken:
        known = (pgbackrest.path, configuration(site), stanza, programs.directory)
        return run([sys.executable, _SCRIPT, *known, room / "restored"])

    taken = in_turns(
        {"homelab backup restore-test": lambda: site.homelab("backup", "restore-test", "--all"), "script": bare},
        rounds,
    )
    ours, theirs = (middle(runs) for runs in taken.values())
    return Report(
        f"restore test of a database of {size / 1e6:.0f} MB over bare restore, server and the same questions",
        "warm: the repository, a directory on the same disk, is in the page cache; a full backup, zst, AES-256;\n"
        f"{pgbackrest}, process-max {min(4, os.cpu_count() or 1)} of both; PostgreSQL"
        f" {tools.dotted(programs.version)}, fsync off, no parallel workers;\nboth: restore, WAL held against its"
        " checksums, recovery, counts per table, pg_amcheck --heapallindexed --parent-check\n(as many jobs), fast"
        " shutdown, pg_checksums --check, removal. The cluster that was backed up is stopped.",
        taken,
        [Result("ratio", ours / theirs, "x", _GOAL), Result("difference", ours - theirs, "s")],
    )
