"""Locks that killed restics have left in a repository: found out and taken away.

Not by `restic unlock`: to see whether a holder lives, that sends SIGHUP to the process id in the lock, and so ends
whatever program has this id now (restic's internal/restic/lock_unix.go). Here the holder is looked up instead.
restic's own rules otherwise: it renews its lock every five minutes and believes none that is half an hour old
(doc/design.rst, "Locks"); what another host holds can be judged by age only.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from backup_orchestration.core import processes
from backup_orchestration.core.errors import CommandFailedError, RepositoryLockedError, ToolLiedError
from backup_orchestration.core.objects import Objects
from backup_orchestration.providers._restic_cli import ResticCli

_ABANDONED = timedelta(minutes=30)

Result = TypeVar("Result")


def drop_dead_locks(cli: ResticCli, store: Objects) -> int:
    """Take away the locks whose holder is gone; returns how many.

    Args:
        cli: opens the repository.
        store: its files.
    """
    dropped = 0
    for name in store.names("locks"):
        try:
            lock = cli.lock(name.rpartition("/")[2])
        except (CommandFailedError, ToolLiedError):
            continue  # taken away meanwhile, or half written: nobody can say whose it is
        if _is_dead(lock):
            store.delete(name)
            dropped += 1
    return dropped


def past_dead_locks(cli: ResticCli, store: Objects, action: Callable[[], Result]) -> Result:
    """Do something that a lock of a dead process may be in the way of.

    Raises:
        RepositoryLockedError: a living one is.
    """
    try:
        return action()
    except RepositoryLockedError:
        if not drop_dead_locks(cli, store):
            raise
        return action()


def _is_dead(lock: Mapping[str, Any]) -> bool:
    if datetime.now(UTC) - datetime.fromisoformat(lock["time"]) > _ABANDONED:
        return True
    if lock["hostname"] != socket.gethostname():
        return False
    return not processes.program_of(int(lock["pid"])).startswith("restic")
