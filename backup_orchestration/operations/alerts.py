"""Which changes of a target's state are worth telling. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from datetime import datetime

from backup_orchestration.core.snapshot import rfc3339
from backup_orchestration.core.status import Assessment, Protection


@dataclass(frozen=True)
class State:
    """What was last told of a target.

    Attributes:
        protection: its word.
        failed_backup: when the last backup failed, if nothing was taken since; RFC 3339 or empty.
        failed_test: sequence number of the last evidence, if it failed; else 0.
        reason: for people.
    """

    protection: str
    failed_backup: str = ""
    failed_test: int = 0
    reason: str = ""

    def as_list(self) -> list[str | int]:
        """For a cursor; without the reason, which may be long."""
        return list(astuple(self))[:3]


@dataclass(frozen=True)
class Alert:
    """One thing to tell.

    Attributes:
        target: full name.
        event: `backup failed`, `restore test failed`, `stale`, `suspect`, `never` or `recovered`.
        protection: the state now.
        reason: for people.
    """

    target: str
    event: str
    protection: str
    reason: str

    @property
    def text(self) -> str:
        """One line."""
        return f"{self.target}: {self.event}{f': {self.reason}' if self.reason else ''}"


def state_of(found: Assessment, failed_backup: datetime | None) -> State:
    """The state of a target by its assessment and its last failed backup run."""
    newest = found.snapshots[0].taken_at if found.snapshots else None
    failed = failed_backup if failed_backup and (newest is None or failed_backup > newest) else None
    last = found.last_test
    return State(
        protection=found.protection.value,
        failed_backup=rfc3339(failed) or "",
        failed_test=last.sequence if last and not last.passed else 0,
        reason=found.reason,
    )


def alerts_between(before: Mapping[str, State], now: Mapping[str, State]) -> list[Alert]:
    """What has changed since the last tick; a target that is seen for the first time and is fresh is no news."""
    alerts = []
    for target, state in sorted(now.items()):
        known = before.get(target, State(Protection.FRESH.value))
        if state.failed_backup and state.failed_backup != known.failed_backup:
            alerts.append(Alert(target, "backup failed", state.protection, f"at {state.failed_backup}"))
        if state.failed_test and state.failed_test != known.failed_test:
            alerts.append(Alert(target, "restore test failed", state.protection, state.reason))
        if state.protection != known.protection:
            event = "recovered" if state.protection == Protection.FRESH.value else state.protection
            alerts.append(Alert(target, event, state.protection, state.reason))
    return alerts
