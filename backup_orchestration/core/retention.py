"""Which snapshots of a target stay, and why. Pure: providers and orchestration only carry a plan out.

The count rules are restic's, exactly (its internal/data/snapshot_policy.go, `ApplyPolicy`), so that whoever knows
`restic forget` knows this; `tools/test_restic_forget.py` holds them against the real one. They deviate in one thing:
what is dated in the future is kept and not counted, since a clock that was once wrong would eat the places of others.

Around them stand rules that no count can overrule, see `plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

from backup_orchestration.core.policy import Retention
from backup_orchestration.core.snapshot import CLOCK_TOLERANCE, Snapshot


@dataclass(frozen=True)
class Circumstances:
    """What besides the counts decides.

    Attributes:
        zone: whose days, weeks and months are meant.
        verified: ids of the verified snapshots.
        protected: why others may not be removed, by id, e.g. that one is being restored.
        halted: why nothing at all may be removed now; for people.
    """

    zone: tzinfo = UTC
    verified: Collection[str] = frozenset()
    protected: Mapping[str, str] = field(default_factory=dict)
    halted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """What happens to one snapshot.

    Attributes:
        snapshot: the one.
        keep: whether it stays.
        reasons: why it stays; empty when it goes.
        withheld: the counts would remove it, and nothing may be removed now.
    """

    snapshot: Snapshot
    keep: bool
    reasons: tuple[str, ...] = ()
    withheld: bool = False


@dataclass(frozen=True)
class PrunePlan:
    """What stays and what goes of one target in one destination.

    Attributes:
        target: `<service>/<name>`.
        decisions: one for every listed snapshot, newest first.
        halted: why nothing at all may be removed; nothing is then done to the repository either.
    """

    target: str
    decisions: tuple[Decision, ...]
    halted: tuple[str, ...] = ()

    @property
    def kept(self) -> tuple[Snapshot, ...]:
        """What stays, newest first."""
        return tuple(item.snapshot for item in self.decisions if item.keep)

    @property
    def removed(self) -> tuple[Snapshot, ...]:
        """What goes, newest first: what builds on another comes before it."""
        return tuple(item.snapshot for item in self.decisions if not item.keep)

    @property
    def withheld(self) -> tuple[Snapshot, ...]:
        """What would go if anything might, newest first."""
        return tuple(item.snapshot for item in self.decisions if item.withheld)

    @property
    def over_cap(self) -> bool:
        """Whether it removes more than half of the snapshots, which nobody does without saying how many."""
        return 2 * len(self.removed) > len(self.decisions)


def plan(
    target: str,
    snapshots: Iterable[Snapshot],
    retention: Retention,
    now: datetime,
    around: Circumstances,
) -> PrunePlan:
    """Decide on every snapshot.

    Kept, whatever the counts say: the recovery point and as many of the newest verified ones as `min_verified` says;
    what is dated in the future; what is protected; what a kept one builds on; and everything, while fewer than
    `min_verified` are verified or something halts it.

    Args:
        target: `<service>/<name>`.
        snapshots: all that the repository lists, in any order; ids are one of a kind.
        retention: of the policy.
        now: time zone aware.
        around: what else decides.
    """
    newest_first = sorted(snapshots, key=lambda item: (item.taken_at, item.snapshot_id), reverse=True)
    future = [item for item in newest_first if item.taken_at > now + CLOCK_TOLERANCE]
    past = newest_first[len(future) :]
    reasons: dict[str, list[str]] = {
        identity: list(found)
        for identity, found in keep_by_counts(
            {item.snapshot_id: item.taken_at.astimezone(around.zone) for item in past}, retention
        ).items()
    }
    for item in future:
        reasons.setdefault(item.snapshot_id, []).append("dated in the future, not counted")
    verified = [item for item in past if item.snapshot_id in around.verified]
    for place, item in enumerate(verified[: retention.min_verified]):
        reasons.setdefault(item.snapshot_id, []).append("recovery point" if place == 0 else "verified")
    for identity, why in around.protected.items():
        reasons.setdefault(identity, []).append(why)
    _keep_what_they_need(newest_first, reasons)
    halted = around.halted + _too_few(len(verified), retention.min_verified)
    decisions = (_decision(item, reasons.get(item.snapshot_id), halted) for item in newest_first)
    return PrunePlan(target, tuple(decisions), halted)


def keep_by_counts(moments: Mapping[str, datetime], retention: Retention) -> dict[str, tuple[str, ...]]:
    """restic's count rules: what they keep, and by which, in restic's words.

    Each rule walks from the newest to the oldest and keeps one whose day, week (ISO) or month is not that of the one it
    kept before, until its count is used up; what any rule keeps stays. A rule that has places left at the end also
    keeps the oldest. Days are those of the wall clock in each moment's own offset.

    Args:
        moments: by id, time zone aware. Of equal ones, the higher id is the newer.
        retention: the counts.
    """
    order = sorted(moments, key=lambda identity: (moments[identity], identity), reverse=True)
    kept: dict[str, list[str]] = {}
    for name, count, bucket in _rules(retention):
        for identity, reason in _walk(order, moments, name, count, bucket):
            kept.setdefault(identity, []).append(reason)
    return {identity: tuple(found) for identity, found in kept.items()}


Bucket = Callable[[datetime], Hashable]


def _rules(retention: Retention) -> tuple[tuple[str, int, Bucket | None], ...]:
    return (
        ("last", retention.keep_last, None),
        ("daily", retention.keep_daily, datetime.date),
        ("weekly", retention.keep_weekly, lambda moment: moment.isocalendar()[:2]),
        ("monthly", retention.keep_monthly, lambda moment: (moment.year, moment.month)),
    )


def _walk(
    order: Sequence[str], moments: Mapping[str, datetime], name: str, count: int, bucket: Bucket | None
) -> Iterable[tuple[str, str]]:
    before: Hashable = None
    for place, identity in enumerate(order):
        if not count:
            return
        key = bucket(moments[identity]) if bucket else place
        if key != before:
            yield identity, f"{name} snapshot"
        elif place == len(order) - 1:
            yield identity, f"oldest {name} snapshot"
        else:
            continue
        before = key
        count -= 1


def _keep_what_they_need(snapshots: Sequence[Snapshot], reasons: dict[str, list[str]]) -> None:
    """Add what kept ones build on, and what that builds on."""
    by_id = {item.snapshot_id: item for item in snapshots}
    pending = [by_id[identity] for identity in reasons if identity in by_id]
    while pending:
        item = pending.pop()
        for needed in item.needs:
            if needed in by_id and needed not in reasons:
                reasons[needed] = [f"needed by {item.key}"]
                pending.append(by_id[needed])


def _too_few(verified: int, wanted: int) -> tuple[str, ...]:
    if verified >= wanted:
        return ()
    if not verified:
        return ("no snapshot is verified",)
    return (f"{verified} verified, and the policy wants min_verified = {wanted} to be left",)


def _decision(snapshot: Snapshot, reasons: Sequence[str] | None, halted: Sequence[str]) -> Decision:
    if reasons:
        return Decision(snapshot, keep=True, reasons=tuple(reasons))
    if halted:
        return Decision(snapshot, keep=True, reasons=("nothing is pruned now",), withheld=True)
    return Decision(snapshot, keep=False)
