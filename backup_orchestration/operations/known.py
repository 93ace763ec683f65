"""Judge a target without asking its repository: by the snapshots that somebody remembers, and the evidence.

For what must be cheap and often, such as alerts. Whether the remembered snapshots still exist is found out by the
next restore test, and by `status`, which asks the repository.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from backup_orchestration.core.evidence import Ledger, What
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.core.status import Assessment, assess


def assess_known(policy: BackupPolicy, keys: Collection[str], ledger: Ledger, now: datetime) -> Assessment:
    """Judge a target.

    Args:
        policy: of the target.
        keys: snapshot keys that are remembered, in any order.
        ledger: of the same target and destination.
        now: time zone aware.
    """
    return assess(known_snapshots(policy, keys, ledger), ledger, policy.effective_rpo, now)


def gone(ledger: Ledger) -> set[str]:
    """Keys of the snapshots that have vanished or were removed, as far as evidence says so."""
    return {key for key, note in ledger.last_notes.items() if note.what is not What.CHANGED}


def known_snapshots(policy: BackupPolicy, keys: Collection[str], ledger: Ledger) -> list[Snapshot]:
    """What is known of remembered snapshots: where evidence does not say it whole, the id is its beginning alone.

    Those of which evidence says that they have vanished or were removed are left out.
    """
    tested, left_out = ledger.last_tests, gone(ledger)
    snapshots = []
    for key in keys:
        if key in left_out:
            continue
        record = tested.get(key)
        snapshots.append(
            Snapshot(
                target=policy.target,
                provider=policy.provider,
                repository=record.repository if record else "",
                repository_id=record.repository_id if record else _newest_repository(ledger),
                snapshot_id=record.snapshot_id if record else key.partition("-")[2],
                taken_at=record.taken_at if record else _time_of(key),
                size_bytes=(record.size_bytes if record else None) or 0,
            )
        )
    return snapshots


def _newest_repository(ledger: Ledger) -> str:
    return ledger.records[-1].repository_id if ledger.records else ""


def _time_of(key: str) -> datetime:
    return datetime.strptime(key.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
