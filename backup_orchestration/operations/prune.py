"""Plan what retention removes of a target, and remove it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from backup_orchestration.core.errors import RepositoryMissingError, RetentionError
from backup_orchestration.core.evidence import Evidence, Ledger
from backup_orchestration.core.locks import repository_lock
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.progress import Progress, Update, silent
from backup_orchestration.core.readers import being_read, forget, gate
from backup_orchestration.core.retention import Circumstances, PrunePlan, plan
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.core.status import Assessment, Verdict, assess
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations.applications import needed
from backup_orchestration.operations.backup import LOCK_SECONDS
from backup_orchestration.operations.known import known_snapshots
from backup_orchestration.operations.noting import note_removal
from backup_orchestration.providers.base import Listing, PruneReport, Repository, read_back_pruned


@dataclass(frozen=True)
class Pruning:
    """What came of it.

    Attributes:
        plan: what was to be done.
        report: what was done; None where nothing might be.
    """

    plan: PrunePlan
    report: PruneReport | None = None


def _nobody(_plan: PrunePlan) -> None:
    """A plan that nobody is shown."""


def plan_for(homelab: Homelab, target: str) -> PrunePlan:
    """What retention would remove now; touches nothing.

    Raises:
        HomelabError: the repository or the evidence cannot be read.
    """
    policy, repository = homelab.policy(target), homelab.repository(target)
    ledger = homelab.evidence().ledger(target, policy.destination)
    listing = _listing(repository)
    listed = listing.snapshots
    now = homelab.now()
    found = assess(listed, ledger, policy.effective_rpo, now)
    for_application, unsettled = needed(homelab, target, found)
    restored = {item.snapshot_id: "being restored" for item in being_read(_locks(homelab), listed)}
    around = Circumstances(
        zone=ZoneInfo(policy.timezone),
        verified=_verified(found),
        protected={**for_application, **restored},
        halted=(
            *(f"{key} failed its restore test, which the repository is suspect for" for key in found.suspect_keys),
            *listing.unlisted,
            *_vanished(ledger, listed),
            *unsettled,
        ),
    )
    return plan(target, listed, policy.retention, now, around)


def would_remove(policy: BackupPolicy, keys: Collection[str], ledger: Ledger, now: datetime) -> bool:
    """Whether retention would remove something, by what is remembered; asks no repository.

    Args:
        policy: of the target.
        keys: snapshot keys that are remembered, in any order.
        ledger: of the same target and destination.
        now: time zone aware.
    """
    listed = known_snapshots(policy, keys, ledger)
    found = assess(listed, ledger, policy.effective_rpo, now)
    around = Circumstances(zone=ZoneInfo(policy.timezone), verified=_verified(found), halted=found.suspect_keys)
    return bool(plan(policy.target, listed, policy.retention, now, around).removed)


def prune(
    homelab: Homelab,
    target: str,
    progress: Progress = silent,
    *,
    run_id: str = "",
    force: int | None = None,
    shown: Callable[[PrunePlan], None] = _nobody,
) -> Pruning:
    """Plan, remove, and hold what is listed then against the plan; alone in the repository.

    Args:
        homelab: the installation.
        target: full name.
        progress: told of every step.
        run_id: of the run that does it.
        force: how many snapshots may go, where that is more than half of them.
        shown: told of the plan before anything is removed.

    Raises:
        RetentionError: the plan removes more than half, or another number than `force`; nothing was removed.
        ToolLiedError: what is listed afterwards is not what was planned.
        HomelabError: as `plan_for` and `Repository.prune`.
    """
    repository, locks = homelab.repository(target), _locks(homelab)

    def waiting() -> None:
        progress(Update("waiting", message=f"{repository.location} is in use; waiting for it"))

    with ExitStack() as held:
        held.enter_context(repository_lock(locks, repository.location, timeout=LOCK_SECONDS, on_wait=waiting))
        held.enter_context(gate(locks, repository.location, timeout=LOCK_SECONDS, on_wait=waiting))
        wanted = plan_for(homelab, target)
        shown(wanted)
        if wanted.halted:
            return Pruning(wanted)
        _require_consent(wanted, force)
        note_removal(homelab, target, [item.key for item in wanted.removed], run_id)
        report = repository.prune(wanted, progress)
        read_back_pruned(wanted, repository.snapshots())
        forget(locks, wanted.removed)
    return Pruning(wanted, report)


def _require_consent(wanted: PrunePlan, force: int | None) -> None:
    count = len(wanted.removed)
    if force is None and wanted.over_cap:
        raise RetentionError(
            f"{wanted.target}: retention would remove {count} of {len(wanted.decisions)} snapshots, more than half; "
            "nothing was removed",
            remedy=f"see `homelab backup prune --target {wanted.target} --plan`; if it is meant, say --force {count}",
        )
    if force is not None and force != count:
        raise RetentionError(
            f"{wanted.target}: retention would remove {count} snapshots, and {force} may go; nothing was removed",
            remedy="look at the plan again",
        )


def _listing(repository: Repository) -> Listing:
    try:
        return repository.listing()
    except RepositoryMissingError as error:
        return Listing((), (error.message,))


def _vanished(ledger: Ledger, listed: Sequence[Snapshot]) -> list[str]:
    """The newest that ever passed is never pruned. Where it is not listed, the listing was cut short or it was taken.

    A repository that was made anew has another id: what was in the old one says nothing of it.
    """
    here = {item.repository_id for item in listed}
    about = [item for item in ledger.records if item.repository_id in here and not (item.at and item.passed)]
    last: dict[str, Evidence] = {item.snapshot_id: item for item in about}
    passed = [item for item in last.values() if item.passed]
    newest = max(passed, key=lambda item: item.taken_at, default=None)
    if newest is None or newest.snapshot_id in {item.snapshot_id for item in listed}:
        return []
    return [f"{newest.snapshot_key} passed its restore test and is no longer listed"]


def _verified(found: Assessment) -> set[str]:
    return {item.snapshot_id for item in found.snapshots if found.verdicts[item.key] is Verdict.VERIFIED}


def _locks(homelab: Homelab) -> Path:
    return homelab.home / "locks"
