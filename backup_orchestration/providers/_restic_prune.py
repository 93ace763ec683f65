"""Removes chosen snapshots with restic, and the data that none needs any more.

Snapshots go by their ids, never by restic's own policy: `forget` with counts removes everything in versions before
0.17 when its filter matches nothing to keep. Data goes in a call of its own, after what is listed was held against the
plan.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from backup_orchestration.core.objects import Objects
from backup_orchestration.core.progress import Progress, Update
from backup_orchestration.core.retention import PrunePlan
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.providers._restic_cli import ResticCli
from backup_orchestration.providers._restic_locks import drop_dead_locks
from backup_orchestration.providers.base import PruneReport, read_back_pruned
from backup_orchestration.stores.directory import DirectoryObjects

_IDENTITY = re.compile(r"[0-9a-f]{64}")
# What restic writes a file of a directory as, until it is whole (internal/backend/local/local.go, `Save`).
_PART = re.compile(r"/[0-9a-f]{64}-tmp-\d+$")
_KINDS = ("data", "index", "snapshots")
# Ids in one call: an argument list has an end.
_AT_ONCE = 500


def snapshot_files(store: Objects) -> set[str]:
    """Names of the snapshot files that lie in a repository, which are the ids; asked before restic is."""
    names = (name.rpartition("/")[2] for name in store.names("snapshots"))
    return {name for name in names if _IDENTITY.fullmatch(name)}


def unlisted(lying: Collection[str], listed: Iterable[Mapping[str, Any]]) -> list[str]:
    """Snapshot files that restic has not listed: it skips what it cannot read, with exit code 0. Lines for people."""
    known = {item.get("id") for item in listed}
    return [f"restic cannot read the snapshot file {name[:8]}" for name in sorted(lying) if name not in known]


def prune(
    cli: ResticCli, store: Objects, plan: PrunePlan, progress: Progress, listed: Callable[[], Sequence[Snapshot]]
) -> PruneReport:
    """Take what a plan removes out of the list, read the list back, and only then remove data.

    Args:
        cli: opens the repository.
        store: its files.
        plan: what goes.
        progress: told of every step.
        listed: lists the target's snapshots.
    """
    started = time.monotonic()
    drop_dead_locks(cli, store)
    ids = [snapshot.snapshot_id for snapshot in plan.removed]
    for start in range(0, len(ids), _AT_ONCE):
        cli.maintain("forget", *ids[start : start + _AT_ONCE])
        progress(Update("forget", min(1.0, (start + _AT_ONCE) / len(ids))))
    report = read_back_pruned(plan, listed())
    progress(Update("prune"))
    cli.maintain("prune")
    if isinstance(store, DirectoryObjects):
        drop_parts(store)
    return replace(report, seconds=time.monotonic() - started)


def drop_parts(store: Objects) -> int:
    """Remove the unfinished files that killed restics left in a directory, which restic never does; returns how many.

    Who writes has a lock before he begins and until he has ended. So a part that was there before it was seen that
    there is no lock has no writer.
    """
    parts = [name for kind in _KINDS for name, _ in store.sizes(kind) if _PART.search(name)]
    if not parts or any(_IDENTITY.fullmatch(name.rpartition("/")[2]) for name in store.names("locks")):
        return 0
    for name in parts:
        store.delete(name)
    return len(parts)
