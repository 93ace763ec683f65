"""`homelab backup reconcile`: holds what is remembered against the repositories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from backup_orchestration.cli.runs import run_tasks, worker_tasks
from backup_orchestration.cli.select import chosen
from backup_orchestration.cli.show import Bars, complain, say, say_json
from backup_orchestration.core.redaction import harmless
from backup_orchestration.homelab.load import Homelab, load
from backup_orchestration.operations.reconcile import Reconciliation, lost_lines


def show_or_reconcile(targets: Sequence[str], *, everything: bool, only_plan: bool, as_json: bool) -> int:
    """Compare, and unless told otherwise mend what is remembered; returns the exit code."""
    homelab = load()
    names = chosen(homelab, targets, everything=everything)
    return _plan(homelab, names, as_json=as_json) if only_plan else _reconcile(homelab, names, as_json=as_json)


def _plan(homelab: Homelab, names: Sequence[str], *, as_json: bool) -> int:
    from backup_orchestration.orchestration.reconciling import planned  # imports Dagster

    rows: list[dict[str, Any]] = []
    failed = False
    for target in names:
        try:
            found, shown = planned(homelab, target)
        except Exception as error:  # noqa: BLE001 - a provider of somebody else's may raise anything
            failed = True
            complain(f"{target}: failed: {harmless(error)}")
            continue
        failed = failed or bool(lost_lines(found) or shown)
        rows.append(_row(found, shown, applied=False))
        for line in () if as_json else lines_of(found, shown, applied=False):
            say(line)
    if as_json:
        say_json(rows)
    return int(failed)


def _reconcile(homelab: Homelab, names: Sequence[str], *, as_json: bool) -> int:
    rows: list[dict[str, Any]] = []

    def hear(bars: Bars, _target: str, payload: object) -> None:
        if isinstance(payload, tuple):
            found, shown = payload
            rows.append(_row(found, shown, applied=True))
            for line in () if as_json else lines_of(found, shown, applied=True):
                bars.line(line)

    code = run_tasks(homelab, names, lambda: worker_tasks().reconciliations(homelab), hear, as_json=as_json)
    if as_json:
        say_json(sorted(rows, key=lambda row: names.index(row["target"])))
    return code


def lines_of(found: Reconciliation, shown: Sequence[str], *, applied: bool) -> Iterator[str]:
    """What was found, for people: one line for each thing, and one that sums up."""
    target = found.target
    for key in found.add:
        yield f"{target}: {'added' if applied else 'to add'}: {key}"
    for key in found.drop:
        yield f"{target}: {'dropped' if applied else 'to drop'}: {key}, which retention removed"
    for line in (*lost_lines(found), *shown):
        yield f"{target}: {line}"
    count, point = len(found.found.snapshots), found.found.standing_point
    yield (
        f"{target}: {count} snapshot{'' if count == 1 else 's'}, {len(found.verified)} verified, "
        f"{f'recovery point {point.key}' if point else 'no recovery point'}"
    )


def _row(found: Reconciliation, shown: Sequence[str], *, applied: bool) -> dict[str, Any]:
    point = found.found.standing_point
    return {
        "target": found.target,
        "applied": applied,
        "snapshots": len(found.found.snapshots),
        "verified": len(found.verified),
        "recovery_point": point.key if point else None,
        "added": list(found.add),
        "dropped": list(found.drop),
        "findings": [{"what": item.what.value, "key": item.key, "reason": item.reason} for item in found.findings],
        "unlisted": list(found.unlisted),
        "missing": list(found.missing),
        "contradictions": list(shown),
    }
