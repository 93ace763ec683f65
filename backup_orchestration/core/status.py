"""Whether a target is protected. Pure: what a repository lists and what the evidence says, held against now.

Protection is the age of the newest snapshot that passed its restore test and still exists, never the age
of the newest snapshot and never the time since the test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from backup_orchestration.core.evidence import Evidence, Ledger, Note, What
from backup_orchestration.core.snapshot import CLOCK_TOLERANCE, Snapshot, rfc3339


class Protection(StrEnum):
    """Of a target."""

    FRESH = "fresh"
    STALE = "stale"
    SUSPECT = "suspect"
    NEVER = "never"


class Verdict(StrEnum):
    """Of one snapshot: what its last authentic restore test said."""

    VERIFIED = "verified"
    FAILED = "failed"
    UNTESTED = "untested"


@dataclass(frozen=True)
class Assessment:
    """What is known of one target in one destination.

    Attributes:
        snapshots: newest first.
        verdicts: of every listed snapshot, by key.
        tested_at: end of the last authentic restore test of a snapshot, by key.
        recovery_point: newest verified snapshot that exists.
        protection: see `Protection`.
        suspect_keys: listed snapshots whose last restore test failed; nothing may be pruned meanwhile.
        last_test: newest authentic evidence of a restore test.
        losses: authentic notes of snapshots that vanished or changed, oldest first.
        reason: why the protection is what it is, for people.
    """

    snapshots: tuple[Snapshot, ...]
    verdicts: Mapping[str, Verdict]
    tested_at: Mapping[str, datetime]
    recovery_point: Snapshot | None
    protection: Protection
    suspect_keys: tuple[str, ...]
    last_test: Evidence | None
    losses: tuple[Note, ...]
    reason: str

    @property
    def standing_point(self) -> Snapshot | None:
        """The recovery point while it counts; none while the target is suspect, since its pass is void then."""
        return None if self.protection is Protection.SUSPECT else self.recovery_point

    @property
    def standing(self) -> tuple[Snapshot, ...]:
        """All verified snapshots that count, newest first: the standing recovery point and what is older."""
        point = self.standing_point
        verified = [item for item in self.snapshots if self.verdicts[item.key] is Verdict.VERIFIED]
        return tuple(verified[verified.index(point) :]) if point else ()


def assess(snapshots: Sequence[Snapshot], ledger: Ledger, rpo: timedelta, now: datetime) -> Assessment:
    """Judge a target.

    Args:
        snapshots: what the repository lists, in any order.
        ledger: of the same target and destination.
        rpo: the oldest that the recovery point's data may be.
        now: time zone aware.
    """
    newest_first = tuple(sorted(snapshots, key=lambda item: (item.taken_at, item.snapshot_id), reverse=True))
    tests = _last_tests(newest_first, ledger)
    verdicts = {item.key: _verdict(tests.get(item.key)) for item in newest_first}
    point = next(
        (
            item
            for item in newest_first
            if verdicts[item.key] is Verdict.VERIFIED and item.taken_at <= now + CLOCK_TOLERANCE
        ),
        None,
    )
    failed = tuple(item.key for item in newest_first if verdicts[item.key] is Verdict.FAILED)
    protection = _protection(point, failed, tests, rpo, now)
    reasons = [
        *_about_failures(failed, tests),
        *_about_point(protection, point, newest_first, rpo, now),
        *_about_strangers(newest_first, ledger),
        *_about_vanished(point, newest_first, ledger),
        *ledger.problems,
    ]
    return Assessment(
        snapshots=newest_first,
        verdicts=verdicts,
        tested_at={key: test.evidence.finished_at for key, test in tests.items() if test.evidence},
        recovery_point=point,
        protection=protection,
        suspect_keys=failed,
        last_test=ledger.records[-1] if ledger.records else None,
        losses=tuple(note for note in ledger.notes if note.what is not What.REMOVED),
        reason="; ".join(reasons),
    )


@dataclass(frozen=True)
class _Test:
    """The last restore test of a snapshot; `evidence` is None where only its successor still tells of it."""

    sequence: int
    passed: bool
    evidence: Evidence | None


def _last_tests(snapshots: Sequence[Snapshot], ledger: Ledger) -> dict[str, _Test]:
    """The last restore test of each listed snapshot; it must name this very snapshot and repository.

    A pass of a snapshot that vanished or changed after it counts no longer, also when all looks as before again.

    A pass at a later moment proves nothing about the snapshot as it was taken: what was missing then may have been
    written since. A failure counts, whatever the moment.
    """
    listed = {item.key: item for item in snapshots}
    tests: dict[str, _Test] = {}
    for record in ledger.records:
        snapshot = listed.get(record.snapshot_key)
        if snapshot is not None and _is_about(record, snapshot) and not (record.at and record.passed):
            tests[snapshot.key] = _Test(record.sequence, record.passed, record)
    for item in ledger.lost:
        # A deleted record of a failed test does not make the snapshot good again; one of a passed test is none.
        key = item.snapshot_key or ""
        if item.passed is False and key in listed and (key not in tests or tests[key].sequence < item.sequence):
            tests[key] = _Test(item.sequence, passed=False, evidence=None)
    void = {key for key, note in ledger.last_notes.items() if note.what is not What.REMOVED}
    return {key: test for key, test in tests.items() if key not in void or not test.passed}


def _is_about(record: Evidence, snapshot: Snapshot) -> bool:
    return not differences(record, snapshot)


def differences(record: Evidence, snapshot: Snapshot) -> list[str]:
    """What a listed snapshot has otherwise than the one of its key that was tested; words for people."""
    return [
        what
        for what, tested, listed in (
            ("repository", record.repository_id, snapshot.repository_id),
            ("id", record.snapshot_id, snapshot.snapshot_id),
            ("time", record.taken_at, snapshot.taken_at),
            ("size", record.size_bytes, snapshot.size_bytes),
        )
        if tested not in (None, listed)
    ]


def _verdict(test: _Test | None) -> Verdict:
    if test is None:
        return Verdict.UNTESTED
    return Verdict.VERIFIED if test.passed else Verdict.FAILED


def _protection(
    point: Snapshot | None, failed: Sequence[str], tests: Mapping[str, _Test], rpo: timedelta, now: datetime
) -> Protection:
    if failed and not _tested_again(point, failed, tests):
        return Protection.SUSPECT
    if point is None:
        return Protection.NEVER
    return Protection.FRESH if now - point.taken_at <= rpo else Protection.STALE


def _tested_again(point: Snapshot | None, failed: Sequence[str], tests: Mapping[str, _Test]) -> bool:
    """Whether the recovery point passed after the last failure: snapshots share data, so its old pass is void."""
    return point is not None and tests[point.key].sequence > max(tests[key].sequence for key in failed)


def _about_failures(failed: Sequence[str], tests: Mapping[str, _Test]) -> list[str]:
    if not failed:
        return []
    evidence = tests[failed[0]].evidence
    why = evidence.reason if evidence else "its evidence was deleted"
    others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    return [f"{failed[0]} failed its restore test{others}: {why}; nothing is pruned"]


def _about_point(
    protection: Protection,
    point: Snapshot | None,
    snapshots: Sequence[Snapshot],
    rpo: timedelta,
    now: datetime,
) -> list[str]:
    parts: list[str] = []
    if protection is Protection.STALE and point is not None:
        parts.append(f"the newest verified data is {_age(now - point.taken_at)} old, the RPO is {_age(rpo)}")
    if snapshots and snapshots[0].taken_at > now + CLOCK_TOLERANCE:
        parts.append(f"{snapshots[0].key} is dated in the future")
    elif point is None:
        parts.append("no snapshot has passed a restore test" if snapshots else "no snapshot")
    elif protection is Protection.STALE and snapshots[0].key != point.key:
        parts.append(f"{snapshots[0].key} is newer and not verified")
    return parts


def _about_strangers(snapshots: Sequence[Snapshot], ledger: Ledger) -> list[str]:
    """Say when evidence speaks of another repository than the one that is there: it was made anew."""
    here = {item.repository_id for item in snapshots}
    foreign = [record for record in ledger.records if here and record.repository_id not in here]
    known = {*(item.key for item in snapshots), *ledger.last_notes}
    gone = {
        record.snapshot_key
        for record in ledger.records
        if record.snapshot_key not in known and record.repository_id in (here or {record.repository_id})
    }
    parts = []
    if foreign:
        parts.append(
            f"{len(foreign)} restore tests were of another repository than the one there now: it was re-created"
        )
    if gone and ledger.records and ledger.records[-1].snapshot_key in gone:
        parts.append(f"{ledger.records[-1].snapshot_key} was tested and is no longer in the repository")
    return parts


def _about_vanished(point: Snapshot | None, snapshots: Sequence[Snapshot], ledger: Ledger) -> list[str]:
    """Say which snapshots newer than the recovery point are gone; of the older ones `reconcile` has told."""
    listed = {item.key for item in snapshots}
    since = point.key if point else ""
    gone = [
        f"{key} was found vanished at {rfc3339(note.at)}"
        for key, note in ledger.last_notes.items()
        if note.what is What.VANISHED and key not in listed and key > since
    ]
    return gone[-1:] if len(gone) < 2 else [f"{gone[-1]} (and {len(gone) - 1} more)"]


def _age(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds} s"
