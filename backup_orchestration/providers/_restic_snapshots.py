"""Snapshots as restic lists them, read strictly: what cannot be understood is a lie, never left out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from backup_orchestration.core.errors import ToolLiedError
from backup_orchestration.core.snapshot import Snapshot


def snapshot_of(listed: Mapping[str, Any], provider: str, repository: str, description: str) -> Snapshot:
    """One entry of `restic snapshots --json`.

    Args:
        listed: the entry.
        provider: its name.
        repository: location, without credentials.
        description: of the policy.

    Raises:
        ToolLiedError: it lacks something, or has it as another type.
    """
    try:
        tags = dict(tag.split("=", 1) for tag in listed["tags"] if "=" in tag)
        summary = listed.get("summary", {})
        return Snapshot(
            target=tags["target"],
            provider=provider,
            repository=repository,
            repository_id=tags["repository"],
            snapshot_id=_text(listed["id"]),
            taken_at=datetime.fromisoformat(listed["time"]).astimezone(UTC),
            size_bytes=int(summary.get("total_bytes_processed", 0)),
            counts={"files": int(summary.get("total_files_processed", 0))},
            paths=tuple(listed["paths"]),
            run_id=tags["run"],
            finished_at=_moment(summary.get("backup_end")),
            description=description,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ToolLiedError(f"restic lists a snapshot that cannot be read: {error!r}") from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _moment(text: object) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if isinstance(text, str) else None
