"""Repositories are listed while this process imports Dagster: opening one costs restic about as long.

Each is listed in a process of its own, forked before the import. What it found waits in a pipe for the worker that gets
the target. When nothing is found, for whatever reason, the worker asks for itself, and tells what is wrong.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection

from backup_orchestration.cli.workers import terminated_as_interrupt
from backup_orchestration.core.lifeline import die_with_parent
from backup_orchestration.core.snapshot import Snapshot

Listed = Sequence[Snapshot]
# Of a target, oldest first; None: nobody knows.
Known = Callable[[str], Listed | None]

_FORK = multiprocessing.get_context("fork")


@contextmanager
def listed_ahead(targets: Sequence[str], snapshots: Callable[[str], Listed]) -> Iterator[Known]:
    """List repositories beside the block, which forks the workers that ask for what was found.

    Args:
        targets: those that workers take first.
        snapshots: lists the repository of a target; runs in another process.

    Yields:
        what a worker asks: it waits for the answer, and gets it once.
    """
    pipes: dict[str, Connection] = {}
    processes = []
    try:
        for target in targets:
            pipes[target], theirs = _FORK.Pipe(duplex=False)
            process = _FORK.Process(target=_list, args=(theirs, target, snapshots))
            process.start()
            processes.append(process)
            theirs.close()
        yield lambda target: _receive(pipes, target)
    finally:
        for pipe in pipes.values():
            pipe.close()
        for process in processes:
            process.terminate()
            process.join()


def _list(pipe: Connection, target: str, snapshots: Callable[[str], Listed]) -> None:
    os.setsid()
    die_with_parent()
    with suppress(Exception, KeyboardInterrupt), terminated_as_interrupt():
        pipe.send(snapshots(target))


def _receive(pipes: Mapping[str, Connection], target: str) -> Listed | None:
    try:
        found: Listed = pipes[target].recv()
    except (KeyError, EOFError, OSError):  # not asked for ahead, answered before, or nothing whole was sent
        return None
    return found
