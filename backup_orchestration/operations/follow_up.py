"""What a failed restore test asks for at once."""

from __future__ import annotations

from backup_orchestration.core.evidence import Evidence
from backup_orchestration.core.status import Protection
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations.status import judge


def to_test_again(homelab: Homelab, failed: Evidence) -> str | None:
    """Key of the recovery point that must be tested again because another snapshot failed; None if nothing must.

    Snapshots share data: after a failure the older pass of the recovery point is void until it passes again.
    """
    found = judge(homelab, failed.target)
    point = found.recovery_point
    if failed.passed or point is None or found.protection is not Protection.SUSPECT:
        return None
    return point.key if point.key != failed.snapshot_key else None
