"""What a restore would do: which snapshot, where to, and what stands against it. Touches nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from backup_orchestration.core.errors import HomelabError, SpaceError, UsageError
from backup_orchestration.core.evidence import Evidence
from backup_orchestration.core.partial import leftovers
from backup_orchestration.core.replaced import replacements
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.core.status import Assessment, Protection, Verdict
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations import in_place
from backup_orchestration.operations.put_back import Way, way_back
from backup_orchestration.operations.restore_place import directory_place
from backup_orchestration.operations.restore_test import RESTORE, find_snapshot
from backup_orchestration.operations.status import judge

_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Wanted:
    """What a person asked for.

    Attributes:
        key: of the snapshot; None: the recovery point, or the one that `at` is reached from.
        at: a moment after a snapshot, UTC, where the provider keeps what came then.
        to: where to, absolute or relative to the working directory; None: a directory below `home`.
        in_place: over the source, in place of what is there.
    """

    key: str | None = None
    at: datetime | None = None
    to: Path | None = None
    in_place: bool = False


@dataclass(frozen=True)
class RestorePlan:
    """What a restore would do.

    Attributes:
        snapshot: that is restored.
        verdict: `verified`, `failed`, `untested`; `unknown` where the evidence cannot be read.
        warnings: what a person must know before he goes on.
        age: of the data, now.
        at: the moment that is restored to; None: the snapshot itself.
        place: where to, absolute, links followed.
        holds: what is there now.
        free_bytes: on the disk of `place`.
        left: directories that killed restores to this place have left beside it. Those in the making are removed; from
            those that hold what was there before, it is put back.
        kept: what earlier restores in place have kept beside it.
        probes: names of those that look at a copy of what was restored, in order.
        last_seconds: that the last restore test took to restore, and the bytes that came back; None: there is none.
        commands: plain shell lines that restore the snapshot without this project.
        way: the way back from `place`.
        in_place: what is there is replaced, once the probes have passed.
        obstacle: why it cannot be done as things are; None: it can.
    """

    snapshot: Snapshot
    verdict: str
    warnings: tuple[str, ...]
    age: timedelta
    at: datetime | None
    place: Path
    holds: str
    free_bytes: int
    left: tuple[Path, ...]
    kept: tuple[Path, ...]
    probes: tuple[str, ...]
    last_seconds: float | None
    last_bytes: int | None
    commands: tuple[str, ...]
    way: Way
    in_place: bool
    obstacle: HomelabError | None = None

    @property
    def word(self) -> str:
        """What a person types to have it done, where that is asked for."""
        return f"{self.snapshot.target}@{self.snapshot.key}"


def plan_restore(homelab: Homelab, target: str, wanted: Wanted) -> RestorePlan:
    """Plan a restore.

    Args:
        homelab: the installation.
        target: full name.
        wanted: what was asked for.

    Raises:
        UsageError: no such snapshot, none that is verified and none was named, or a place that nothing is restored to.
        HomelabError: the repository cannot be read; or the evidence, where no snapshot was named.
    """
    if wanted.in_place and wanted.to is not None:
        raise UsageError("in place, a restore goes where the source is", remedy="leave --to or --in-place away")
    there = _source_place(homelab, target) if wanted.in_place else None
    repository = homelab.repository(target)
    snapshot, found, unread = _chosen(homelab, target, wanted)
    place = there or directory_place(homelab, snapshot, wanted.to)
    replaced = replacements(place) if wanted.in_place else []
    last = found.last_test if found else None
    verdict = found.verdicts.get(snapshot.key, Verdict.UNTESTED).value if found else _UNKNOWN
    plan = RestorePlan(
        snapshot=snapshot,
        verdict=verdict,
        warnings=tuple(_warnings(snapshot, found, verdict, wanted.at, unread)),
        age=homelab.now() - snapshot.taken_at,
        at=wanted.at,
        place=place,
        holds=_holds(place),
        free_bytes=shutil.disk_usage(_existing(place)).free,
        left=(*leftovers(place), *(item.root for item in replaced if not item.done)),
        kept=tuple(item.root for item in replaced if item.done),
        probes=tuple(probe.name for probe in homelab.policy(target).probes),
        last_seconds=last.restore_seconds if last and last.restore_seconds else None,
        last_bytes=_restored_bytes(last) if last else None,
        commands=repository.by_hand().commands(snapshot),
        way=Way({str(place): str(place)}, ()) if there else way_back(homelab.policy(target), snapshot, place),
        in_place=wanted.in_place,
    )
    if wanted.in_place:
        return _over_the_source(homelab, plan)
    return replace(plan, obstacle=_obstacle(plan, own_choice=wanted.to is not None) or _lack_of_room(plan))


def _source_place(homelab: Homelab, target: str) -> Path:
    place = in_place.source_place(homelab.policy(target))
    in_place.require_root(homelab, place)
    return place


def _over_the_source(homelab: Homelab, plan: RestorePlan) -> RestorePlan:
    try:
        found = in_place.refuse(homelab, plan.snapshot, plan.place)
    except HomelabError as error:
        return replace(plan, obstacle=error)
    more = in_place.warnings(homelab, plan.snapshot.target, plan.place, found)
    return replace(plan, warnings=(*plan.warnings, *more), obstacle=_lack_of_room(plan))


def _chosen(homelab: Homelab, target: str, wanted: Wanted) -> tuple[Snapshot, Assessment | None, str]:
    """The snapshot, the assessment, and why there is none."""
    repository = homelab.repository(target)
    listed = repository.snapshots()
    unread = ""
    found: Assessment | None = None
    try:
        found = judge(homelab, target, listed)
    except HomelabError as error:
        # Who has lost the evidence must still get at the data; but nobody chooses for him then.
        if wanted.key is None and wanted.at is None:
            raise
        unread = error.message
    if wanted.at is not None:
        return repository.covering(wanted.at), found, unread
    if wanted.key is not None:
        return find_snapshot(listed, target, wanted.key), found, unread
    if found is None or found.recovery_point is None:
        raise UsageError(
            f"{target} has no verified snapshot",
            remedy=f"restore-test one, or name one of `homelab backup list --target {target}` with --snapshot",
        )
    return found.recovery_point, found, unread


def _warnings(
    snapshot: Snapshot, found: Assessment | None, verdict: str, at: datetime | None, unread: str
) -> Sequence[str]:
    if found is None:
        return (f"NOT VERIFIED: the evidence cannot be read: {unread}",)
    warnings = []
    if verdict == Verdict.FAILED:
        warnings.append("THIS SNAPSHOT FAILED its last restore test: it may not come back, or not as it was")
    elif verdict == Verdict.UNTESTED:
        warnings.append("NOT VERIFIED: no restore test has shown that this snapshot comes back")
    elif at is not None:
        warnings.append("the snapshot is verified; the moment after it is not")
    if found.protection is Protection.SUSPECT:
        warnings.append(f"the target is suspect: {found.reason}")
    point = found.recovery_point
    if verdict != Verdict.VERIFIED and point is not None and point.key != snapshot.key:
        warnings.append(f"the newest verified snapshot is {point.key}")
    return warnings


def _holds(place: Path) -> str:
    if not place.exists():
        return "nothing"
    if not place.is_dir():
        return "a file"
    entries = sum(1 for _ in place.iterdir())
    return f"{entries:,} {'entry' if entries == 1 else 'entries'}" if entries else "an empty directory"


def _restored_bytes(last: Evidence) -> int | None:
    """By the restore's own count: the probes count what they look at."""
    return next((item.counts.get("bytes") for item in last.probes if item.name == RESTORE and item.passed), None)


def _obstacle(plan: RestorePlan, *, own_choice: bool) -> HomelabError | None:
    if plan.holds not in ("nothing", "an empty directory"):
        remedy = "choose a directory that is new or empty" if own_choice else "look at what is there, or choose --to"
        return UsageError(f"{plan.place} is in the way, it holds {plan.holds}", remedy=remedy)
    if os.path.ismount(plan.place):
        return UsageError(f"{plan.place} is a mount point", remedy="choose a directory below it")
    return None


def _lack_of_room(plan: RestorePlan) -> HomelabError | None:
    if plan.free_bytes < plan.snapshot.size_bytes:
        return SpaceError(
            f"{plan.snapshot.key} needs {plan.snapshot.size_bytes:,} bytes, and the disk of {plan.place} has "
            f"{plan.free_bytes:,} free",
            remedy="free room there, or choose a directory on a larger disk with --to",
        )
    return None


def _existing(place: Path) -> Path:
    return next(path for path in (place, *place.parents) if path.exists())


def described(plan: RestorePlan) -> Mapping[str, object]:
    """What Dagster and JSON show of a plan; texts are not cleaned yet."""
    snapshot = plan.snapshot
    return {
        "target": snapshot.target,
        "snapshot": snapshot.key,
        "verdict": plan.verdict,
        "age_seconds": int(plan.age.total_seconds()),
        "warnings": list(plan.warnings),
        "repository": snapshot.repository,
        "to": str(plan.place),
        "holds": plan.holds,
        "size_bytes": snapshot.size_bytes,
        "free_bytes": plan.free_bytes,
        "in_place": plan.in_place,
        "left_by_killed": [str(path) for path in plan.left],
        "kept_before": [str(path) for path in plan.kept],
        "probes": list(plan.probes),
        "last_restore_seconds": plan.last_seconds,
        "last_restore_bytes": plan.last_bytes,
        "commands": list(plan.commands),
        "places": dict(plan.way.places),
        "obstacle": str(plan.obstacle) if plan.obstacle else None,
        "word": plan.word,
    }
