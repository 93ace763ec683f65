"""Hold what is remembered of a target against its repository, and write down what has vanished or changed.

Who remembers: the evidence, and Dagster's partitions, which the caller brings and afterwards mends. What a repository
does not answer is no evidence of absence: a store that fails, a repository that is not there as a whole (a disk that
is not mounted looks like that) and a list that was cut short take nothing away from anybody.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from backup_orchestration.core.errors import RepositoryMissingError
from backup_orchestration.core.evidence import Evidence, Ledger, What
from backup_orchestration.core.reconciliation import Finding, findings
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.core.status import Assessment, Verdict, assess
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations.noting import evidence_lock, note_findings
from backup_orchestration.providers.base import Listing, Repository


@dataclass(frozen=True)
class Reconciliation:
    """What came of it.

    Attributes:
        target: full name.
        found: what is known of the target now, after what was found was written down.
        tests: of each tested snapshot the last record, by key.
        findings: what has vanished or changed and was not written down before.
        unlisted: what lies in the repository and is not listed, see `Repository.unlisted`.
        missing: keys that are not listed, of which that proves nothing while the list is cut short.
        add: keys that are listed and not remembered, oldest first.
        drop: keys that are remembered and that retention removed.
    """

    target: str
    found: Assessment
    tests: Mapping[str, Evidence]
    findings: tuple[Finding, ...] = ()
    unlisted: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()

    @property
    def verified(self) -> tuple[Snapshot, ...]:
        """The verified snapshots, newest first."""
        return tuple(item for item in self.found.snapshots if self.found.verdicts[item.key] is Verdict.VERIFIED)


def reconcile(
    homelab: Homelab, target: str, remembered: Collection[str], run_id: str, *, only_plan: bool = False
) -> Reconciliation:
    """Compare, write down what has vanished or changed, and say what Dagster's partitions should be.

    Args:
        homelab: the installation.
        target: full name.
        remembered: keys of its partitions, read before this is called: what is taken meanwhile is then no loss.
        run_id: of the run that does it.
        only_plan: write nothing down.

    Raises:
        RepositoryMissingError: the repository is not there, and somebody remembers it; nothing was written down.
        HomelabError: the repository or the evidence cannot be read or written.
    """
    before = _ledger(homelab, target)  # in this order: what is tested or pruned meanwhile is then no loss either
    known = {*remembered, *before.last_tests}
    listing = _listing(homelab.repository(target), target, known - {*before.last_notes})
    found: Sequence[Finding] = findings(listing.snapshots, before, remembered)
    ledger = before
    if found:
        with nullcontext() if only_plan else evidence_lock(homelab, target):
            # Retention notes what it removes before it does: what has left the list since is in the notes by now.
            ledger = before.model_copy(update={"notes": _ledger(homelab, target).notes})
            found = findings(listing.snapshots, ledger, remembered)
            if not only_plan:
                note_findings(homelab, target, [item for item in found if _is_sure(item, listing)], run_id)
                ledger = _ledger(homelab, target)
    listed = {item.key for item in listing.snapshots}
    removed = {key for key, note in ledger.last_notes.items() if note.what is What.REMOVED}
    return Reconciliation(
        target=target,
        found=assess(listing.snapshots, ledger, homelab.policy(target).effective_rpo, homelab.now()),
        tests=ledger.last_tests,
        findings=tuple(item for item in found if _is_sure(item, listing)),
        unlisted=tuple(listing.unlisted),
        missing=tuple(item.key for item in found if not _is_sure(item, listing)),
        add=tuple(sorted(listed - {*remembered})),
        drop=tuple(sorted(removed & {*remembered} - listed)),
    )


def _ledger(homelab: Homelab, target: str) -> Ledger:
    return homelab.evidence().ledger(target, homelab.policy(target).destination)


def _is_sure(item: Finding, listing: Listing) -> bool:
    """What is missing from a list that was cut short proves nothing."""
    return item.what is What.CHANGED or not listing.unlisted


def _listing(repository: Repository, target: str, remembered: Collection[str]) -> Listing:
    """One look; a second one where something is not listed, since it may have been on its way in or out."""
    try:
        listing = repository.listing()
        return repository.listing() if listing.unlisted else listing
    except RepositoryMissingError as error:
        if not remembered:
            return Listing(())
        raise RepositoryMissingError(
            f"{error.message}; remembered snapshots of {target}: {len(remembered)}; nothing was changed",
            remedy="mount it or bring it back; if it is gone for good, run the backup with --new-repository",
        ) from error


def lost_lines(done: Reconciliation) -> list[str]:
    """What is not as it should be in a repository; lines for people."""
    cut_short = f"; whether {', '.join(done.missing)} vanished is not known while this is so" if done.missing else ""
    return [
        *(f"{item.key} {item.what}: it {item.reason}" for item in done.findings),
        *(f"the list is cut short: {line}{cut_short}" for line in done.unlisted),
    ]
