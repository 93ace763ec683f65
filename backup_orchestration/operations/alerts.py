"""Which changes of a target's state are worth telling. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime

from backup_orchestration.core.evidence import Note
from backup_orchestration.core.snapshot import rfc3339
from backup_orchestration.core.status import Assessment, Protection


@dataclass(frozen=True)
class State:
    """What was last told of a target.

    Attributes:
        protection: its word.
        failed_backup: when the last backup failed, if nothing was taken since; RFC 3339 or empty.
        failed_test: sequence number of the last evidence, if it failed; else 0.
        loss: sequence number of the last note of a snapshot that vanished or changed; else 0.
        reason: for people.
        lost: what happened there and to which snapshot, for people: two texts.
    """

    protection: str
    failed_backup: str = ""
    failed_test: int = 0
    loss: int = 0
    reason: str = ""
    lost: tuple[str, str] = ("", "")

    def as_list(self) -> list[str | int]:
        """For a cursor; without what is for people, which may be long."""
        return list(astuple(self))[:4]


@dataclass(frozen=True)
class Alert:
    """One thing to tell.

    Attributes:
        target: full name.
        event: `backup failed`, `restore test failed`, `snapshot vanished`, `snapshot changed`, `stale`, `suspect`,
            `never` or `recovered`.
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
    last, loss = found.last_test, found.losses[-1] if found.losses else None
    return State(
        protection=found.protection.value,
        failed_backup=rfc3339(failed) or "",
        failed_test=last.sequence if last and not last.passed else 0,
        loss=loss.sequence if loss else 0,
        reason=found.reason,
        lost=_lost(found.losses),
    )


def _lost(losses: Sequence[Note]) -> tuple[str, str]:
    """The last of them, and how many were found with it."""
    if not losses:
        return "", ""
    last = losses[-1]
    others = sum(note.run_id == last.run_id for note in losses) - 1
    more = f" (and {others} more)" if others else ""
    return last.what.value, f"{last.snapshot_keys[0]}{more} {last.reason}"


def alerts_between(before: Mapping[str, State], now: Mapping[str, State]) -> list[Alert]:
    """What has changed since the last tick; a target that is seen for the first time and is fresh is no news."""
    alerts = []
    for target, state in sorted(now.items()):
        known = before.get(target, State(Protection.FRESH.value))
        if state.failed_backup and state.failed_backup != known.failed_backup:
            alerts.append(Alert(target, "backup failed", state.protection, f"at {state.failed_backup}"))
        if state.failed_test and state.failed_test != known.failed_test:
            alerts.append(Alert(target, "restore test failed", state.protection, state.reason))
        if state.loss > known.loss:
            what, which = state.lost
            alerts.append(Alert(target, f"snapshot {what}", state.protection, which))
        if state.protection != known.protection:
            event = "recovered" if state.protection == Protection.FRESH.value else state.protection
            alerts.append(Alert(target, event, state.protection, state.reason))
    return alerts
