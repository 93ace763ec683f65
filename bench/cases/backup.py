"""What `homelab backup run` costs over a script that makes the same calls of restic, as many at a time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.measure import Report, Result, Taken, in_turns, middle, run
from bench.site import Site, make_repositories, make_site, opening, restic, restic_verbs, write_random

_MANY = 20
_PARALLEL = max(2, min(8, os.cpu_count() or 2))  # as many as homelab's workers
_GOAL_SECONDS = 0.2

# What restic is called for, for each target; held against what homelab calls it for.
_VERBS = ["cat", "backup", "snapshots"]
_SCRIPT = """\
export RESTIC_REPOSITORY="$1/backups/script-$3"
id=$("$2" cat config --no-lock | grep '"id"' | cut -d '"' -f 4)
"$2" backup --json --host homelab --tag target=app/$3 --tag run=$$ --tag repository=$id -- "$1/data/$3" >/dev/null
"$2" snapshots --json --no-lock --tag target=app/$3,run=$$ | grep -q "run=$$"
"""


def measure(room: Path, rounds: int) -> Report:
    names = [f"t{number:02}" for number in range(_MANY)]
    site = make_site(room, names)
    for name in names:
        for number in range(10):
            write_random(room / "data" / name / f"{number}.bin", 16 << 10)
    make_repositories(site, [path for name in names for path in (site.repository(name), _scripts_own(site, name))])
    _require_same_calls(site, names[0])

    def ours(*wanted: str) -> Taken:
        _change(room, names)
        return site.homelab("backup", "run", *wanted)

    def bare(wanted: Sequence[str]) -> Taken:
        return _script(site, wanted)

    one = ("--target", f"app/{names[0]}")
    ours("--all")
    bare(names)
    taken = in_turns(
        {
            "1 target, homelab": lambda: ours(*one),
            "1 target, script": lambda: bare(names[:1]),
            f"{_MANY} targets, homelab": lambda: ours("--all"),
            f"{_MANY} targets, script": lambda: bare(names),
        },
        rounds,
    )
    single, single_bare, many, many_bare = (middle(runs) for runs in taken.values())
    busy, busy_bare = (median(item.cpu for item in runs) for runs in list(taken.values())[2:])
    return Report(
        f"homelab backup run over a script that makes the same restic calls, {_PARALLEL} at a time",
        "warm: repositories in directories, with snapshots; 10 files of 16 KiB a target, one of them new each time;\n"
        f"{opening(site.repository(names[0]), site.password)}.",
        taken,
        [
            Result("one target, overhead", single - single_bare, "s"),
            Result(f"{_MANY} targets, overhead of each", (many - many_bare) / _MANY, "s", _GOAL_SECONDS),
            Result(f"{_MANY} targets, ratio", many / many_bare, "x"),
            Result(f"{_MANY} targets, processor time more for each", (busy - busy_bare) / _MANY, "s"),
        ],
    )


def _scripts_own(site: Site, name: str) -> Path:
    return site.root / "backups" / f"script-{name}"


def _script(site: Site, names: Sequence[str]) -> Taken:
    env = {
        "RESTIC_PASSWORD_FILE": str(site.password),
        "RESTIC_CACHE_DIR": str(site.root / "script-cache"),
        "RESTIC_PROGRESS_FPS": "1",
    }
    Path(site.root / "targets").write_text("".join(f"{name}\n" for name in names))
    arguments = ("-n", "1", "-P", str(_PARALLEL), "sh", "-euc", _SCRIPT, "sh", site.root, restic())
    return run(["xargs", "-a", site.root / "targets", *arguments], env=env)


def _change(room: Path, names: Sequence[str]) -> None:
    for name in names:
        write_random(room / "data" / name / "0.bin", 16 << 10)


def _require_same_calls(site: Site, name: str) -> None:
    """A script that makes other calls than homelab measures nothing."""
    made = [verb for verb in restic_verbs(site, "backup", "run", "--target", f"app/{name}") if verb != "version"]
    if made != _VERBS:
        raise RuntimeError(f"homelab calls restic for {made}; bring the script of this bench up to that")
    shutil.rmtree(site.repository(name))
    shutil.copytree(_scripts_own(site, name), site.repository(name))
    shutil.rmtree(site.root / ".homelab")
    shutil.rmtree(site.root / "evidence", ignore_errors=True)
