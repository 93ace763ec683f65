"""`homelab backup run` and `restore-test`, and how any command runs its targets in workers."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from importlib import import_module
from pathlib import Path
from types import ModuleType

from backup_orchestration.cli.ahead import listed_ahead
from backup_orchestration.cli.select import chosen
from backup_orchestration.cli.show import Bars, bars, complain
from backup_orchestration.cli.workers import Task, default_workers, in_one_process, run_in_workers
from backup_orchestration.core.errors import HomelabError, UsageError
from backup_orchestration.core.evidence import Evidence
from backup_orchestration.core.locks import repository_lock
from backup_orchestration.core.progress import Update
from backup_orchestration.core.snapshot import Snapshot, rfc3339
from backup_orchestration.homelab.load import Homelab, load
from backup_orchestration.operations.backup import Wish
from backup_orchestration.operations.restore_test import find_snapshot
from backup_orchestration.stores.open import import_stores

_PREPARATION_SECONDS = 120.0


def run_backups(targets: Sequence[str], *, everything: bool, wish: Wish) -> int:
    """Back up the chosen targets; returns the exit code."""
    homelab = load()
    names = chosen(homelab, targets, everything=everything)
    return run_tasks(homelab, names, lambda: worker_tasks().backups(homelab, wish), _show, after=homelab.after)


def run_restore_tests(
    targets: Sequence[str], *, everything: bool, snapshot: str | None, at: datetime | None = None
) -> int:
    """Restore-test the chosen targets; returns the exit code."""
    homelab = load()
    names = chosen(homelab, targets, everything=everything)
    if (snapshot is not None or at is not None) and len(names) != 1:
        raise UsageError("--snapshot and --at need exactly one target", remedy="name one --target")
    if at is not None:
        if snapshot is not None:
            raise UsageError("--at finds the snapshot to start from by itself", remedy="leave --snapshot away")
        snapshot = homelab.repository(names[0]).covering(at).key
    elif snapshot is not None:
        find_snapshot(homelab.repository(names[0]).snapshots(), names[0], snapshot)
    first = names[: default_workers()] if snapshot is None else ()
    with listed_ahead(first, lambda target: homelab.repository(target).snapshots()) as known:
        return run_tasks(homelab, names, lambda: worker_tasks().restore_tests(homelab, snapshot, at, known), _show)


def run_tasks(
    homelab: Homelab,
    names: Sequence[str],
    open_task: Callable[[], Iterator[Task]],
    show: Callable[[Bars, str, object], None],
    *,
    after: Mapping[str, str | None] | None = None,
    as_json: bool = False,
) -> int:
    """Run a task for each target in workers, with bars; returns the exit code.

    Args:
        homelab: the installation.
        names: full names of the targets.
        open_task: see `run_in_workers`.
        show: shows what a task tells besides progress and errors.
        after: see `run_in_workers`.
        as_json: the results are printed afterwards; see `bars`.
    """
    prepare(homelab)
    import_stores([homelab.evidence_place, *(item.place for item in homelab.destinations.values())])
    failed: set[str] = set()
    with bars(as_json=as_json) as shown:

        def hear(target: str, kind: str, payload: object) -> None:
            _show_any(shown, target, payload, show)
            if kind == "failed":
                failed.add(target)

        try:
            run_in_workers(names, open_task, hear, after=after)
        except KeyboardInterrupt:
            complain("interrupted: what was running was stopped and does not count")
            return 1
    return 1 if failed else 0


def prepare(homelab: Homelab) -> Path:
    """Make Dagster's home, and its storage in a process that ends: two at once would collide. Returns the home."""
    tasks = worker_tasks()
    from backup_orchestration.orchestration.instance import has_storage, prepare_home

    home = prepare_home(homelab)
    with repository_lock(homelab.home / "locks", "Dagster's storage", timeout=_PREPARATION_SECONDS):
        if not has_storage(homelab):
            in_one_process(lambda: tasks.make_storage(homelab))
    return home


def worker_tasks() -> ModuleType:
    """The module of what workers do, which imports Dagster. The collector rests: 1,300 modules leave no garbage."""
    resting = gc.isenabled()
    gc.disable()
    try:
        return import_module(f"{__package__}.tasks")
    finally:
        if resting:
            gc.enable()


def _show_any(shown: Bars, target: str, payload: object, show: Callable[[Bars, str, object], None]) -> None:
    """Show what a worker tells."""
    if isinstance(payload, Update):
        shown.update(target, payload)
        return
    shown.finish(target)
    if isinstance(payload, HomelabError):
        complain(f"{target}: failed: {payload}")
    elif isinstance(payload, str):
        shown.line(f"{target}: {payload}")
    else:
        show(shown, target, payload)


def _show(shown: Bars, target: str, payload: object) -> None:
    if isinstance(payload, Snapshot):
        counted = [f"{payload.counts[what]:,} {what}, " for what in ("files", "objects") if what in payload.counts]
        shown.line(f"{target}: snapshot {payload.key}: {''.join(counted)}{payload.size_bytes:,} bytes")
    elif isinstance(payload, Evidence):
        at = f" at {rfc3339(payload.at)}" if payload.at else ""
        shown.line(f"{target}: {payload.snapshot_key}{at}: {_verdict(payload)}")


def _verdict(evidence: Evidence) -> str:
    if not evidence.passed:
        return f"restore test failed: {evidence.reason}"
    return f"restore test passed ({'; '.join(f'{item.name}: {item.summary}' for item in evidence.probes)})"
