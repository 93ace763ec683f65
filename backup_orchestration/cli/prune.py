"""`homelab backup prune`: shows what retention removes, and removes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from backup_orchestration.cli.runs import run_tasks, worker_tasks
from backup_orchestration.cli.select import chosen
from backup_orchestration.cli.show import Bars, complain, say, say_json
from backup_orchestration.core.errors import UsageError
from backup_orchestration.core.redaction import harmless
from backup_orchestration.core.retention import Decision, PrunePlan
from backup_orchestration.core.snapshot import rfc3339
from backup_orchestration.homelab.load import Homelab, load
from backup_orchestration.operations.prune import Pruning, plan_for


def show_or_apply(
    targets: Sequence[str], *, everything: bool, only_plan: bool, force: int | None, as_json: bool
) -> int:
    """Plan, and unless told otherwise apply; returns the exit code."""
    homelab = load()
    names = chosen(homelab, targets, everything=everything)
    if force is not None and len(names) != 1:
        raise UsageError("--force needs exactly one target", remedy="name one --target")
    if force is not None and only_plan:
        raise UsageError("--plan removes nothing, so that --force has no meaning", remedy="leave one away")
    return _show(homelab, names, as_json=as_json) if only_plan else _apply(homelab, names, force, as_json=as_json)


def _show(homelab: Homelab, names: Sequence[str], *, as_json: bool) -> int:
    rows: list[dict[str, Any]] = []
    failed = False
    for target in names:
        try:
            found = plan_for(homelab, target)
        except Exception as error:  # noqa: BLE001 - a provider of somebody else's may raise anything
            failed = True
            complain(f"{target}: failed: {harmless(error)}")
            continue
        rows.append(_row(found, applied=False))
        for line in () if as_json else lines_of(found):
            say(line)
    if as_json:
        say_json(rows)
    return int(failed)


def _apply(homelab: Homelab, names: Sequence[str], force: int | None, *, as_json: bool) -> int:
    rows: list[dict[str, Any]] = []
    withheld = False

    def hear(shown: Bars, target: str, payload: object) -> None:
        nonlocal withheld
        if isinstance(payload, PrunePlan) and not as_json:
            for line in lines_of(payload):
                shown.line(line)
        if isinstance(payload, Pruning):
            withheld = withheld or bool(payload.plan.withheld)
            rows.append(_row(payload.plan, applied=payload.report is not None))
            if payload.report and not as_json:
                shown.line(f"{target}: pruned: {_count(len(payload.report.removed))} removed")

    code = run_tasks(homelab, names, lambda: worker_tasks().prunings(homelab, force), hear, as_json=as_json)
    if as_json:
        say_json(sorted(rows, key=lambda row: names.index(row["target"])))
    return code or int(withheld)


def lines_of(plan: PrunePlan) -> Iterator[str]:
    """A plan for people: one line for each snapshot, newest first, then what it comes to."""
    for item in plan.decisions:
        yield f"{plan.target}: {'keep  ' if item.keep else 'remove'}  {item.snapshot.key}  {_why(item)}".rstrip()
    if plan.halted:
        would = f"; {_count(len(plan.withheld))} would go" if plan.withheld else ""
        yield f"{plan.target}: nothing is pruned: {'; '.join(plan.halted)}{would}"
    else:
        cap = f", more than half: say --force {len(plan.removed)}" if plan.over_cap else ""
        yield f"{plan.target}: {len(plan.removed)} of {_count(len(plan.decisions))} go{cap}"


def _why(item: Decision) -> str:
    return ", ".join(item.reasons)


def _count(number: int) -> str:
    return f"{number} snapshot{'' if number == 1 else 's'}"


def _row(plan: PrunePlan, *, applied: bool) -> dict[str, Any]:
    return {
        "target": plan.target,
        "applied": applied,
        "halted": list(plan.halted),
        "needs_force": len(plan.removed) if plan.over_cap else None,
        "snapshots": [
            {
                "key": item.snapshot.key,
                "snapshot_id": item.snapshot.snapshot_id,
                "taken_at": rfc3339(item.snapshot.taken_at),
                "keep": item.keep,
                "withheld": item.withheld,
                "reasons": list(item.reasons),
            }
            for item in plan.decisions
        ],
    }
