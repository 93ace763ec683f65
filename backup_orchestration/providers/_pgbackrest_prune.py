"""Removes chosen backup sets with pgBackRest, and the WAL that no set needs any more.

pgBackRest decides by itself what expires, by counts; here `repo1-retention-full` is at its maximum, and sets go one by
one, by their labels. A set takes along what builds on it, so what may go along is looked at first. WAL goes by counts
only: by a second call whose count is the number of fulls that are there, so that it finds no set to remove. That is
shown by its dry run before it is let loose.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from backup_orchestration.core.errors import RepositoryError, ToolLiedError
from backup_orchestration.core.progress import Progress, Update
from backup_orchestration.core.retention import PrunePlan
from backup_orchestration.providers._pgbackrest_cli import PgBackRestCli
from backup_orchestration.providers._pgbackrest_sets import is_own, needs

_LABEL = re.compile(r"\d{8}-\d{6}F(?:_\d{8}-\d{6}[DI])?")
_MANIFEST = "backup.manifest"
# What the dry run prints last, at the level it is asked for: without it nothing can be concluded from what it prints.
_ENDED = "expire command end: completed successfully"


def unlisted(cli: PgBackRestCli, sets: Sequence[Mapping[str, Any]]) -> list[str]:
    """Complete sets that lie in the repository and that `info` does not know; lines for people."""
    known = {item["label"] for item in sets}
    place = f"backup/{cli.stanza}"
    lying = sorted(name for name in cli.listing(place) if _LABEL.fullmatch(name) and name not in known)
    return [
        f"{name} lies in {cli.location} and is not in backup.info"
        for name in lying
        if _MANIFEST in cli.listing(f"{place}/{name}")
    ]


def remove_sets(cli: PgBackRestCli, plan: PrunePlan, progress: Progress) -> None:
    """Remove what a plan removes, newest first, then WAL.

    Raises:
        RepositoryError: a set that stays would go along.
        ToolLiedError: the call for WAL would remove a set.
    """
    _refuse_to_take_along(cli.info()["backup"], plan)
    gone = plan.removed
    for number, snapshot in enumerate(gone):
        cli.query("expire", f"--set={snapshot.snapshot_id}")
        progress(Update("prune", (number + 1) / len(gone)))
    _remove_wal(cli)


def _refuse_to_take_along(sets: Sequence[Mapping[str, Any]], plan: PrunePlan) -> None:
    """Sets of others and sets that came meanwhile stay; ours with damaged pages do not count and may go along."""
    going = {snapshot.snapshot_id for snapshot in plan.removed}
    for item in sets:
        label = item["label"]
        held = sorted(going & set(needs(item)))
        if label in going or not held or (is_own(item, plan.target) and item.get("error")):
            continue
        raise RepositoryError(
            f"{label} stays and builds on {', '.join(held)}, which would take it along; nothing was removed",
            remedy="if somebody else took it and it is not wanted, remove it with "
            f"`pgbackrest expire --set={label}`; else run this again",
        )


def _remove_wal(cli: PgBackRestCli) -> None:
    """Remove the WAL from before the oldest full; what is newer stays, so that every moment since can be restored."""
    sets = cli.info()["backup"]
    fulls = sum(item["type"] == "full" for item in sets)
    if not fulls:
        return
    counts = [f"--repo1-retention-full={fulls}", f"--repo1-retention-archive={fulls}"]
    call = ("expire", *counts, "--repo1-retention-archive-type=full")
    told = cli.query(*call, "--dry-run", "--log-level-console=info").stdout
    named = [item["label"] for item in sets if item["label"] in told]
    if _ENDED not in told or named:
        raise ToolLiedError(
            f"pgbackrest would remove {', '.join(named) or 'nobody can say what'} instead of WAL alone; it was not let"
        )
    cli.query(*call)
