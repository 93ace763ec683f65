"""Applications in `homelab backup status`: how old what can be restored of the whole is, and who holds it back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from backup_orchestration.cli.select import chosen_or_all
from backup_orchestration.cli.show import age, say, say_json, say_table
from backup_orchestration.core.chains import ApplicationPoint
from backup_orchestration.core.snapshot import rfc3339
from backup_orchestration.homelab.load import Homelab, load
from backup_orchestration.operations.applications import applications_of, points
from backup_orchestration.operations.status import TargetStatus, status


def show_applications(targets: Sequence[str], *, as_json: bool) -> int:
    """Show the application recovery points, of all or of those with these members; returns 0 if each has one."""
    homelab = load()
    chosen = set(chosen_or_all(homelab, targets))
    chains = [chain for chain in applications_of(homelab) if chosen & set(chain.members)]
    found = points(chains, status(homelab, [target for chain in chains for target in chain.members]))
    if as_json:
        rows = [_row(point, homelab.now()) for point in found]
        say_json(sorted(rows, key=lambda row: row["recovery_point_at"] or "", reverse=True))
    elif found:
        _show(found, homelab.now())
    else:
        say("no policy says that its target comes `after` another one")
    return 0 if all(point.snapshots for point in found) else 1


def show_block(homelab: Homelab, found: Sequence[TargetStatus]) -> None:
    """Below the targets: the applications all of whose members are among them."""
    known = points(applications_of(homelab), found)
    if known:
        say("")
        _show(known, homelab.now())


def _show(found: Sequence[ApplicationPoint], now: datetime) -> None:
    say_table([_line(point, now) for point in found])
    for point in found:
        if point.reason:
            say(f"{point.chain.name}: {point.reason}")


def _line(point: ApplicationPoint, now: datetime) -> dict[str, str]:
    return {
        "application": point.chain.name,
        "recovery_point": rfc3339(point.taken_at) or "-",
        "age": age(now - point.taken_at) if point.taken_at else "-",
        "held_back_by": point.held_back_by or "-",
    }


def _row(point: ApplicationPoint, now: datetime) -> dict[str, Any]:
    return {
        "application": point.chain.name,
        "members": list(point.chain.members),
        "recovery_point_at": rfc3339(point.taken_at),
        "age_seconds": (now - point.taken_at) // timedelta(seconds=1) if point.taken_at else None,
        "snapshots": {item.target: item.key for item in point.snapshots},
        "held_back_by": point.held_back_by,
        "reason": point.reason,
    }
