"""`homelab backup restore`: the plan first, then what came of it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click

from backup_orchestration.cli.runs import run_tasks, worker_tasks
from backup_orchestration.cli.show import Bars, say, say_json
from backup_orchestration.core.errors import UsageError
from backup_orchestration.core.replaced import Outcome
from backup_orchestration.core.snapshot import rfc3339
from backup_orchestration.homelab.load import Homelab, load
from backup_orchestration.operations.in_place import source_place
from backup_orchestration.operations.mend import mend
from backup_orchestration.operations.restoration import Restoration
from backup_orchestration.operations.restore import require_word
from backup_orchestration.operations.restore_plan import RestorePlan, Wanted, described, plan_restore


def show_or_restore(word: str, wanted: Wanted, confirm: str | None, *, only_plan: bool, as_json: bool) -> int:
    """Show the plan and, unless nothing else is wanted, carry it out; returns the exit code.

    In place, the word that the plan shows is asked for, unless it was given.

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
    if plan.in_place:
        require_word(plan, _asked(plan, as_json=as_json) if confirm is None else confirm)
    return _carry_out(homelab, plan, as_json=as_json)


def _carry_out(homelab: Homelab, plan: RestorePlan, *, as_json: bool) -> int:
    target = plan.snapshot.target
    done: list[Restoration] = []

    def show(_shown: Bars, _target: str, payload: object) -> None:
        if isinstance(payload, Restoration):
            done.append(payload)

    code = run_tasks(homelab, [target], lambda: worker_tasks().restores(homelab, plan), show, as_json=as_json)
    if as_json:
        say_json({"plan": _plan_object(plan), "restored": _result_object(done[0]) if done else None})
    else:
        for line in result_lines(done[0]) if done else ():
            say(line)
    return code


def resume_killed(word: str) -> None:
    """Bring to an end what killed restores in place of a target have begun, and say what became of each.

    Raises:
        UsageError: its source is not restored in place.
        StateError: a person has to look at it.
    """
    homelab = load()
    policy = homelab.policy(homelab.resolve(word))
    place = source_place(policy)
    found = mend(policy)
    for item, outcome in found:
        say(f"{place}: {outcome.value}{f' in {item.root}' if outcome is Outcome.REPLACED else ''}")
    if not found:
        say(f"{place}: no restore was killed here")


def _asked(plan: RestorePlan, *, as_json: bool) -> str:
    """The word, typed at a terminal.

    Raises:
        UsageError: nobody is there to type it.
    """
    if as_json or not sys.stdin.isatty():
        raise UsageError(f"what is at {plan.place} is replaced only by a word", remedy=f"add --confirm {plan.word}")
    answer: str = click.prompt(f"replace what is at {plan.place}? type {plan.word}", default="", show_default=False)
    return answer.strip()


def _plan_lines(plan: RestorePlan) -> Iterator[str]:
    snapshot = plan.snapshot
    yield f"plan: restore {plan.word}{f' at {rfc3339(plan.at)}' if plan.at else ''}"
    for warning in plan.warnings:
        yield f"  WARNING    {warning}"
    yield f"  snapshot   {snapshot.key}, {plan.verdict}, data of {rfc3339(snapshot.taken_at)}, {_span(plan)} old"
    yield f"  from       {snapshot.repository}"
    yield f"  to         {plan.place}, where there is {plan.holds}{'; IT IS REPLACED' if plan.in_place else ''}"
    if plan.in_place:
        yield f"  keeps      what is there, in {plan.place}.before-{plan.snapshot.key}-…, until you remove it"
    for path in plan.kept:
        yield f"  kept       {path}, by an earlier restore"
    yield f"  size       {snapshot.size_bytes:,} bytes; {plan.free_bytes:,} free there, and a copy is made to probe it"
    for path in plan.left:
        yield f"  mends      {path}, which a killed restore has left, unless it still works"
    yield f"  probes     {', '.join(plan.probes)}, on a copy"
    if plan.last_seconds is not None:
        size = f" for {plan.last_bytes:,} bytes" if plan.last_bytes else ""
        yield f"  duration   the last restore test restored in {plan.last_seconds:.1f} s{size}"
    yield "  without this project:"
    for command in plan.commands:
        yield f"    {command}"


def _span(plan: RestorePlan) -> str:
    return f"{plan.age.total_seconds() / 3600:.1f} h"


def result_lines(done: Restoration) -> Iterator[str]:
    """What came of a restore, for people."""
    report = done.report
    read = f"{report.bytes_read:,} bytes read from the repository and checked"
    yield f"restored {report.bytes:,} bytes in {report.seconds:.1f} s; {read}"
    for item in done.probes:
        yield f"  probe {item.name}: {'passed' if item.passed else 'FAILED'}: {item.summary}"
    if done.plan.in_place:
        yield from _replaced_lines(done)
        return
    for source, there in done.plan.way.places.items():
        yield f"  {source} is at {there}"
    yield "put it back by hand:"
    for step in done.plan.way.steps:
        yield f"  {step}"
    if not done.passed:
        yield f"NOT PROVED: {done.reason}; what was restored stays at {done.plan.place}"


def _replaced_lines(done: Restoration) -> Iterator[str]:
    place = done.plan.place
    if not done.passed:
        yield f"NOT REPLACED: {done.reason}; {place} is as it was, and what was restored is gone"
        return
    yield f"replaced {place}"
    if done.kept is None:
        yield "  nothing was there before"
        return
    yield f"  what was there before is {done.kept / place.name}; nobody removes it but you:"
    yield f"    rm -rf -- {shlex.quote(str(done.kept))}"
    here, away, old = (shlex.quote(str(path)) for path in (place, f"{place}.restored", done.kept / place.name))
    yield "  to have it back, stop what writes there, then:"
    yield f"    mv -T {here} {away} && mv -T {old} {here}"


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
        "replaced": done.plan.in_place and done.passed,
        "kept": str(done.kept) if done.kept else None,
    }
