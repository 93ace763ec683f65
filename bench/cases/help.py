"""`homelab --help` beside the smallest Python there is."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.measure import Report, Result, in_turns, middle, run
from bench.site import HOMELAB


def measure(room: Path, rounds: int) -> Report:
    taken = in_turns(
        {
            "homelab --help": lambda: run([HOMELAB, "--help"], cwd=room),
            "python -c pass": lambda: run([sys.executable, "-c", "pass"], cwd=room),
        },
        rounds * 4,
    )
    ours, bare = (middle(runs) for runs in taken.values())
    return Report("homelab --help", "warm: run before.", taken, [Result("more than Python itself", ours - bare, "s")])
