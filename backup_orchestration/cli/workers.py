"""Worker processes: each runs one target at a time, as a Dagster run in its own process.

Two runs in threads of one process deadlock in Dagster, so workers are forked, before this process has a thread or a
Dagster instance. They have sessions of their own: a Ctrl-C reaches this process, which stops them in order.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from types import FrameType

from backup_orchestration.core.chains import awaited, way_of
from backup_orchestration.core.errors import HomelabError, ToolError
from backup_orchestration.core.lifeline import die_with_parent
from backup_orchestration.core.redaction import harmless

# `tell(kind, payload)` sends to the parent.
Tell = Callable[[str, object], None]
Task = Callable[[str, Tell], None]
Hear = Callable[[str, str, object], None]

_FORK = multiprocessing.get_context("fork")
_STOP_SECONDS = 60.0


@dataclass
class _Worker:
    process: multiprocessing.process.BaseProcess
    pipe: Connection
    target: str | None = None


def run_in_workers(
    targets: Sequence[str],
    open_task: Callable[[], Iterator[Task]],
    hear: Hear,
    *,
    after: Mapping[str, str | None] | None = None,
    parallel: int | None = None,
) -> None:
    """Run a task for each target, several at a time.

    Args:
        targets: full names.
        open_task: called once in each worker; a generator that yields the task and cleans up afterwards.
        hear: called here with target, kind and payload of everything a task tells, and with kind `died`
            when a worker ended without finishing its target.
        after: of a target the one that it comes after, see `core.chains`; it begins when that one has ended, whether
            it succeeded or not.
        parallel: number of workers; default by the number of processors.

    Raises:
        KeyboardInterrupt: this process was asked to stop; the workers have been stopped.
    """
    count = min(len(targets), parallel or default_workers())
    order = after or {}
    followers = Counter(before for target in targets for before in way_of(order, target)[1:])
    pending = sorted(targets, key=lambda target: -followers[target])  # who is waited for by most begins first
    workers: list[_Worker] = []
    # What was imported stays: no worker needs to look through it for garbage (gc.freeze in Python's manual).
    gc.freeze()
    for _ in range(count):
        workers.append(_start(open_task, [worker.pipe for worker in workers]))
    try:
        with terminated_as_interrupt():
            _hand_out(workers, pending, order)
            while busy := [worker for worker in workers if worker.target is not None]:
                for pipe in wait([worker.pipe for worker in busy]):
                    _receive(next(worker for worker in busy if worker.pipe is pipe), hear)
                _hand_out(workers, pending, order)
            for target in pending:
                hear(target, "failed", HomelabError("it was not run: every worker process died", remedy="run it again"))
    finally:
        _stop(workers)


def default_workers() -> int:
    """How many targets run at a time: by the number of processors."""
    return max(2, min(8, os.cpu_count() or 2))


def in_one_process(action: Callable[[], None]) -> None:
    """Run something in a forked process and wait for it: what it starts, threads or storage, ends with it."""
    process = _FORK.Process(target=action)
    process.start()
    process.join()
    if process.exitcode:
        raise ToolError(f"a preparation ended with exit code {process.exitcode}", remedy="see the lines above")


def _start(open_task: Callable[[], Iterator[Task]], before: Sequence[Connection]) -> _Worker:
    ours, theirs = _FORK.Pipe()
    process = _FORK.Process(target=_work, args=(theirs, [*before, ours], open_task))
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _work(pipe: Connection, inherited: Sequence[Connection], open_task: Callable[[], Iterator[Task]]) -> None:
    os.setsid()
    die_with_parent()
    for ends_of_parent in inherited:  # while a copy is open here, the parent's going would never be read as an end
        ends_of_parent.close()
    opened = open_task()
    task = next(opened)
    try:
        while True:
            target = pipe.recv()
            try:
                task(target, partial(_tell, pipe, target))
            except Exception as error:  # noqa: BLE001 - unseen, its traceback would be printed with all that it holds
                _tell(pipe, target, "failed", harmless(error))
            _tell(pipe, target, "done", None)
    except EOFError:
        pass
    finally:
        next(opened, None)


def _tell(pipe: Connection, target: str, kind: str, payload: object) -> None:
    with suppress(BrokenPipeError):  # the parent stops us and no longer listens
        pipe.send((target, kind, payload))


def _hand_out(workers: Sequence[_Worker], pending: list[str], after: Mapping[str, str | None]) -> None:
    """Give every idle worker a target that waits for no other."""
    for worker in workers:
        if worker.target is not None or not worker.process.is_alive():
            continue
        waited_for = {*pending, *(item.target for item in workers if item.target is not None)}
        ready = next((target for target in pending if awaited(after, target, waited_for) is None), None)
        if ready is None:
            return
        pending.remove(ready)
        worker.target = ready
        with suppress(BrokenPipeError):  # it died this moment; `_receive` finds out and says so
            worker.pipe.send(ready)


def _receive(worker: _Worker, hear: Hear) -> None:
    try:
        target, kind, payload = worker.pipe.recv()
    except EOFError:
        worker.process.join()
        died = HomelabError(f"its worker process ended with exit code {worker.process.exitcode}", remedy="run it again")
        hear(worker.target or "", "failed", died)
        worker.target = None
        return
    if kind == "done":
        worker.target = None
    else:
        hear(target, kind, payload)


@contextmanager
def terminated_as_interrupt() -> Iterator[None]:
    """SIGTERM ends the block like Ctrl-C, so that everything is put away on the same path."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(workers: Sequence[_Worker]) -> None:
    """Idle workers end by themselves; busy ones get SIGTERM, time to put things away, then SIGKILL."""
    for worker in workers:
        worker.pipe.close()
        if worker.target is not None and worker.process.is_alive():
            worker.process.terminate()
    for worker in workers:
        worker.process.join(_STOP_SECONDS)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
