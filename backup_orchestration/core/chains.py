"""Chains: targets of one application that are captured one after the other, and the newest set of them that fits.

A database refers to files that lie elsewhere. Captured after it, they hold whatever it refers to, and some things too
many, which does no harm; captured before it, they may lack some. So a policy says `after`, and a set of snapshots
counts only where each was begun when the one before it had ended.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from backup_orchestration.core.snapshot import Snapshot, rfc3339

_FOREVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Chain:
    """The targets of one application.

    Attributes:
        members: full names, each behind the one that it comes after; all come after the first.
        before: the target that each of the others comes after.
    """

    members: tuple[str, ...]
    before: Mapping[str, str]

    @property
    def name(self) -> str:
        """Of the application: the service of its first member."""
        return self.members[0].partition("/")[0]


@dataclass(frozen=True)
class ApplicationPoint:
    """The application recovery point.

    Attributes:
        chain: of the application.
        snapshots: one verified snapshot of each member, in the chain's order; empty: there is no such set.
        held_back_by: the member of which a newer verified snapshot is wanted first; None: all newest ones are in it.
        reason: why, for people.
    """

    chain: Chain
    snapshots: tuple[Snapshot, ...]
    held_back_by: str | None
    reason: str

    @property
    def taken_at(self) -> datetime | None:
        """The moment that all of it is as of: the start of the first member's capture."""
        return self.snapshots[0].taken_at if self.snapshots else None


def chains_of(after: Mapping[str, str | None]) -> list[Chain]:
    """All chains, by the name of their first member.

    Args:
        after: of every target the one that it comes after, or None; all of them are keys, and none comes after itself.
    """
    found: dict[str, list[str]] = {}
    for target in after:
        way = way_of(after, target)
        found.setdefault(way[-1], []).append(target)
    return [
        Chain(
            tuple(sorted(members, key=lambda target: (len(way_of(after, target)), target))),
            {target: before for target in members if (before := after[target]) is not None},
        )
        for _, members in sorted(found.items())
        if len(members) > 1
    ]


def way_of(after: Mapping[str, str | None], target: str) -> list[str]:
    """A target and all that come before it, the first member last.

    Raises:
        ValueError: it comes after itself; the text is the way round.
    """
    way = [target]
    while (before := after.get(way[-1])) is not None:
        if before in way:
            raise ValueError(" after ".join([*way, before]))
        way.append(before)
    return way


def awaited(after: Mapping[str, str | None], target: str, chosen: Collection[str]) -> str | None:
    """Of the chosen targets the last that comes before this one; None if none does."""
    return next((item for item in way_of(after, target)[1:] if item in chosen), None)


def application_point(chain: Chain, verified: Mapping[str, Sequence[Snapshot]]) -> ApplicationPoint:
    """The newest set of verified snapshots, one of each member, each begun when the one before it had ended.

    The newest is the one with the newest snapshot of the first member. Of the others, those that ended first are in it:
    what lies nearest to that moment has the least too many.

    Args:
        chain: of the application.
        verified: of each member the verified snapshots that count, in any order.
    """
    first, *_ = chain.members
    candidates = sorted(verified.get(first, ()), key=lambda item: (item.taken_at, item.snapshot_id), reverse=True)
    if not candidates:
        return ApplicationPoint(chain, (), first, f"{first} has no verified snapshot that counts")
    sets = [_set_after(chain, candidate, verified) for candidate in candidates]
    whole = next((found for found in sets if len(found) == len(chain.members)), {})
    holder, reason = _held_back(chain, sets[0], whole, verified)
    return ApplicationPoint(chain, tuple(whole[target] for target in chain.members if whole), holder, reason)


def _set_after(chain: Chain, first: Snapshot, verified: Mapping[str, Sequence[Snapshot]]) -> dict[str, Snapshot]:
    """The set that begins with this snapshot, up to the member that has none."""
    found = {chain.members[0]: first}
    for target in chain.members[1:]:
        before = found[chain.before[target]]
        following = [item for item in verified.get(target, ()) if _follows(item, before)]
        if not following:
            break
        found[target] = min(following, key=lambda item: (item.finished_at or _FOREVER, item.taken_at, item.snapshot_id))
    return found


def _follows(snapshot: Snapshot, before: Snapshot) -> bool:
    """Whether it was begun when the other had ended. Some tools tell whole seconds only, so only those are held.

    The end, not the start: a physical backup of a database is consistent as of its end, and refers to what was
    written until then. Where the end is not known, nothing follows.
    """
    return before.finished_at is not None and int(snapshot.taken_at.timestamp()) >= int(before.finished_at.timestamp())


def _held_back(
    chain: Chain,
    newest: Mapping[str, Snapshot],
    whole: Mapping[str, Snapshot],
    verified: Mapping[str, Sequence[Snapshot]],
) -> tuple[str | None, str]:
    """Which member a newer verified snapshot is wanted of, and why."""
    for target in chain.members:
        if target not in newest:
            before = newest[chain.before[target]]
            if before.finished_at is None:
                return before.target, f"{before.target} {before.key} does not say when its capture ended"
            end = rfc3339(before.finished_at)
            return target, f"{target} has no verified snapshot begun after {before.target} {before.key} ended, {end}"
    first = chain.members[0]
    if any(item.taken_at > whole[target].taken_at for target in chain.members for item in verified[target]):
        return first, f"{first} has no verified snapshot newer than {whole[first].key}, others have"
    return None, ""
