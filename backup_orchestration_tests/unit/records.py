"""Snapshots and evidence for tests: what is not said is ordinary."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from backup_orchestration.core.evidence import Evidence
from backup_orchestration.core.snapshot import Snapshot

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
TARGET = "app/files"
DESTINATION = "default"


def snapshot(hours_ago: float = 1, *, number: int = 0, repository_id: str = "repo-1", target: str = TARGET) -> Snapshot:
    """One that was taken some hours before NOW; `number` tells two of the same moment apart."""
    taken_at = NOW - timedelta(hours=hours_ago)
    return Snapshot(
        target=target,
        provider="restic",
        repository="/backups/restic-app-files",
        repository_id=repository_id,
        snapshot_id=f"{number:08x}{int(taken_at.timestamp()):056x}",
        taken_at=taken_at,
        size_bytes=100,
    )


def evidence(of: Snapshot, *, passed: bool = True, destination: str = DESTINATION, reason: str = "") -> Evidence:
    """A restore test of a snapshot, not yet stored."""
    return Evidence(
        target=of.target,
        destination=destination,
        provider=of.provider,
        repository=of.repository,
        repository_id=of.repository_id,
        snapshot_id=of.snapshot_id,
        snapshot_key=of.key,
        taken_at=of.taken_at,
        run_id="run",
        started_at=NOW,
        finished_at=NOW,
        passed=passed,
        reason="" if passed else reason or "files: /data/a is missing",
    )
