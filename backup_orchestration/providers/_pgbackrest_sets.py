"""Backup sets as pgBackRest's `info` lists them, read strictly: what cannot be understood is a lie, never left out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backup_orchestration.core.errors import ToolLiedError
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.providers import _cluster


def is_own(item: Mapping[str, Any], target: str) -> bool:
    """Whether this project took a set, of this target."""
    marks = item.get("annotation") or {}
    return marks.get("target") == target and {"run_id", "repository"} <= set(marks)


def needs(item: Mapping[str, Any]) -> tuple[str, ...]:
    """Labels of the sets that a set builds on: those that hold files of it, and the one it was compared with."""
    return tuple(sorted({*(item.get("reference") or ()), *filter(None, (item.get("prior"),))}))


def snapshot_of(item: Mapping[str, Any], policy: BackupPolicy, data: Path, repository: str) -> Snapshot:
    """One entry of `info`.

    Args:
        item: the entry.
        policy: of the target.
        data: directory of the cluster.
        repository: location, without credentials.

    Raises:
        ToolLiedError: it lacks something, or has it as another type.
    """
    try:
        lsn = item["lsn"]
        return Snapshot(
            target=policy.target,
            provider=policy.provider,
            repository=repository,
            repository_id=item["annotation"]["repository"],
            snapshot_id=item["label"],
            taken_at=moment(item["timestamp"]["start"]),
            size_bytes=int(item["info"]["size"]),
            counts={
                "wal_bytes": _cluster.position(lsn["stop"]) - _cluster.position(lsn["start"]),
                "repository_bytes": int(item["info"]["repository"]["delta"]),
            },
            paths=(str(data),),
            run_id=item["annotation"]["run_id"],
            finished_at=moment(item["timestamp"]["stop"]),
            description=policy.description,
            needs=needs(item),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ToolLiedError(f"pgbackrest lists a backup that cannot be read: {error!r}") from error


def moment(seconds: int) -> datetime:
    """A time as `info` gives it."""
    return datetime.fromtimestamp(seconds, UTC)
