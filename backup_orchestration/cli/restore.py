"""`homelab backup restore`: the plan first, then what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from backup_orchestration.cli.runs import run_tasks, worker_tasks
from backup_orchestration.cli.show import Bars, say, say_json
from backup_orchestration.core.snapshot import rfc3339
from backup_orchestration.homelab.load import load
from backup_orchestration.operations.restore import Restoration
from backup_orchestration.operations.restore_plan import RestorePlan, Wanted, described, plan_restore


def show_or_restore(word: str, wanted: Wanted, *, only_plan: bool, as_json: bool) -> int:
    """Show the plan and, unless nothing else is wanted, carry it out; returns the exit code.

    Raises:
        HomelabError: as `plan_restore`; or what stands against it, once the plan is shown.
    """
    homelab = load()
    target = homelab.resolve(word)
    plan = plan_restore(homelab, target, wanted)
    if not as_json:
        for line in _plan_lines(plan):
            say(line)
    if as_json and (only_plan or plan.obstacle):
        say_json({"plan": _plan_object(plan), "restored": None})
    if plan.obstacle:
        raise plan.obstacle
    if only_plan:
        return 0
    done: list[Restoration] = []

    def show(_shown: Bars, _target: str, payload: object) -> None:
        if isinstance(payload, Restoration):
            done.append(payload)

    code = run_tasks(homelab, [target], lambda: worker_tasks().restores(homelab, plan), show, as_json=as_json)
    if as_json:
        say_json({"plan": _plan_object(plan), "restored": _result_object(done[0]) if done else None})
    else:
        for line in _result_lines(done[0]) if done else ():
            say(line)
    return code


def _plan_lines(plan: RestorePlan) -> Iterator[str]:
    snapshot = plan.snapshot
    yield f"plan: restore {plan.word}{f' at {rfc3339(plan.at)}' if plan.at else ''}"
    for warning in plan.warnings:
        yield f"  WARNING    {warning}"
    yield f"  snapshot   {snapshot.key}, {plan.verdict}, data of {rfc3339(snapshot.taken_at)}, {_span(plan)} old"
    yield f"  from       {snapshot.repository}"
    yield f"  to         {plan.place}, where there is {plan.holds}"
    yield f"  size       {snapshot.size_bytes:,} bytes; {plan.free_bytes:,} free there, and a copy is made to probe it"
    for path in plan.left:
        yield f"  removes    {path}, which a killed restore has left, unless it still works"
    yield f"  probes     {', '.join(plan.probes)}, on a copy"
    if plan.last_seconds is not None:
        size = f" for {plan.last_bytes:,} bytes" if plan.last_bytes else ""
        yield f"  duration   the last restore test restored in {plan.last_seconds:.1f} s{size}"
    yield "  without this project:"
    for command in plan.commands:
        yield f"    {command}"


def _span(plan: RestorePlan) -> str:
    return f"{plan.age.total_seconds() / 3600:.1f} h"


def _result_lines(done: Restoration) -> Iterator[str]:
    report = done.report
    read = f"{report.bytes_read:,} bytes read from the repository and checked"
    yield f"restored {report.bytes:,} bytes in {report.seconds:.1f} s; {read}"
    for item in done.probes:
        yield f"  probe {item.name}: {'passed' if item.passed else 'FAILED'}: {item.summary}"
    for source, there in done.plan.way.places.items():
        yield f"  {source} is at {there}"
    yield "put it back by hand:"
    for step in done.plan.way.steps:
        yield f"  {step}"
    if not done.passed:
        yield f"NOT PROVED: {done.reason}; what was restored stays at {done.plan.place}"


def _plan_object(plan: RestorePlan) -> Mapping[str, Any]:
    at = {"taken_at": rfc3339(plan.snapshot.taken_at), "at": rfc3339(plan.at)}
    return {**described(plan), **at}


def _result_object(done: Restoration) -> Mapping[str, Any]:
    return {
        "to": str(done.plan.place),
        "seconds": round(done.report.seconds, 3),
        "bytes": done.report.bytes,
        "bytes_read": done.report.bytes_read,
        "passed": done.passed,
        "reason": done.reason,
        "probes": [{"name": item.name, "passed": item.passed, "summary": item.summary} for item in done.probes],
        "places": dict(done.plan.way.places),
        "put_back": list(done.plan.way.steps),
    }
