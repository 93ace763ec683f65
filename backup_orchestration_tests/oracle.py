"""A history in a real restic repository, and what restic itself would keep of parts of it."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from backup_orchestration.core.policy import Retention

COUNTS = ("keep_last", "keep_daily", "keep_weekly", "keep_monthly")
NEWEST = datetime(2026, 11, 1, 12, tzinfo=UTC)
# Wall clocks that differ by a day and by half an hour, and those of a night in which they are changed.
ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati", "Pacific/Pago_Pago")


@dataclass(frozen=True)
class History:
    """Snapshots in a repository; each carries the tags of the groups that it is in."""

    restic: Path
    env: dict[str, str]
    moments: dict[str, datetime]
    groups: dict[str, frozenset[str]]

    def kept_by_restic(self, group: str, retention: Retention) -> dict[str, tuple[str, ...]]:
        """By id, the reasons that `forget --dry-run` gives."""
        counts = [f"--{name.replace('_', '-')}={getattr(retention, name)}" for name in COUNTS]
        call = ["forget", "--dry-run", "--no-lock", "--json", "--group-by", "", "--tag", group, *counts]
        told = json.loads(_restic(self.restic, self.env, *call))[0]
        assert {item["id"] for item in (*told["keep"], *(told["remove"] or ()))} == self.groups[group]
        return {item["snapshot"]["id"]: tuple(item["matches"]) for item in told["reasons"]}


def make_history(root: Path, restic: Path, empty: Path, chance: random.Random, snapshots: int, groups: int) -> History:
    """Make a repository of so many snapshots, each in about half of the groups; no two are of the same second."""
    shutil.copytree(empty, root / "repository")
    (root / "password").write_text("correct horse battery\n")
    (root / "file").write_text("data\n")
    env = {"RESTIC_REPOSITORY": str(root / "repository"), "RESTIC_PASSWORD_FILE": str(root / "password")}
    env = {**os.environ, **env, "RESTIC_CACHE_DIR": str(root / "cache")}
    moment, names = NEWEST, [f"g{number}" for number in range(groups)]
    for _ in range(snapshots):
        moment -= timedelta(seconds=chance.choice((1, 600, 3600, 40_000, 86_400, 86_400, 300_000, 1_500_000)))
        zone = ZoneInfo(chance.choice(ZONES))
        tags = ",".join(["all", *(name for name in names if chance.random() < 0.5)])
        wall = f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S}"
        call = ("backup", "--quiet", "--no-scan", "--time", wall, "--tag", tags, str(root / "file"))
        _restic(restic, {**env, "TZ": zone.key}, *call)
    listed = json.loads(_restic(restic, env, "snapshots", "--no-lock", "--json"))
    return History(
        restic,
        env,
        {item["id"]: datetime.fromisoformat(item["time"]) for item in listed},
        {name: frozenset(item["id"] for item in listed if name in item["tags"]) for name in ("all", *names)},
    )


def some_retention(chance: random.Random) -> Retention:
    """Counts of which some are 0, and some more than there is."""
    counts = {name: chance.choice((0, 0, 1, 2, 3, 5, 8, 60)) for name in COUNTS}
    return Retention(**counts) if any(counts.values()) else some_retention(chance)


def _restic(restic: Path, env: dict[str, str], *arguments: str) -> str:
    return subprocess.run([restic, *arguments], env=env, check=True, stdout=subprocess.PIPE, text=True).stdout
