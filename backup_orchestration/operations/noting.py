"""Writes down what became of snapshots, as evidence beside the restore tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from backup_orchestration.core.evidence import Note, What
from backup_orchestration.core.locks import repository_lock
from backup_orchestration.core.reconciliation import Finding
from backup_orchestration.homelab.load import Homelab

_SECONDS = 300.0


@contextmanager
def evidence_lock(homelab: Homelab, target: str) -> Iterator[None]:
    """Hold a target's evidence on this host: whoever appends does."""
    place = f"{homelab.evidence_place}/{target}/{homelab.policy(target).destination}"
    with repository_lock(homelab.home / "locks", place, timeout=_SECONDS):
        yield


def note_removal(homelab: Homelab, target: str, keys: Sequence[str], run_id: str = "") -> None:
    """Say what retention is about to remove: what is missing afterwards is no loss.

    Said before it is done: a pruning that is killed has then removed nothing that is not explained.

    Raises:
        EvidenceError, StoreError: it could not be written; nothing may be removed.
    """
    if keys:
        with evidence_lock(homelab, target):
            homelab.evidence().note([_note(homelab, target, What.REMOVED, tuple(keys), "", run_id)])


def note_findings(homelab: Homelab, target: str, found: Sequence[Finding], run_id: str) -> None:
    """Write down what vanished or changed; the caller holds `evidence_lock`.

    Raises:
        EvidenceError, StoreError: it could not be written.
    """
    notes = [_note(homelab, target, item.what, (item.key,), item.reason, run_id) for item in found]
    homelab.evidence().note(notes)


def _note(homelab: Homelab, target: str, what: What, keys: tuple[str, ...], reason: str, run_id: str) -> Note:
    destination = homelab.policy(target).destination
    return Note(
        target=target,
        destination=destination,
        what=what,
        snapshot_keys=keys,
        at=homelab.now(),
        run_id=run_id,
        reason=reason,
    )
