"""Which snapshots are being restored on this host, so that none is pruned away under who reads it.

Each reader holds a file of its snapshot by flock, shared: the kernel lets go of it when its process ends, however it
ends. Who prunes closes the gate first: nobody begins to read until he has ended.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from backup_orchestration.core.locks import lock_file, repository_lock, try_lock
from backup_orchestration.core.snapshot import Snapshot


def gate(
    directory: Path, repository: str, *, timeout: float, on_wait: Callable[[], None] | None = None
) -> AbstractContextManager[None]:
    """Keep new readers of a repository out for the block; for who prunes, and for a moment who begins to read.

    Args:
        directory: of the installation's locks.
        repository: its location.
        timeout: seconds to wait for another holder.
        on_wait: called once when it must wait.

    Raises:
        RepositoryLockedError, StateError: as `repository_lock`.
    """
    return repository_lock(directory, f"readers of {repository}", timeout=timeout, on_wait=on_wait)


@contextmanager
def reading(
    directory: Path, repository: str, snapshot: Snapshot, *, timeout: float, on_wait: Callable[[], None] | None = None
) -> Iterator[None]:
    """Keep a snapshot from being pruned for the block. It may be gone by then: only the repository knows.

    Args:
        directory, repository, timeout, on_wait: as `gate`.
        snapshot: as the repository lists it.

    Raises:
        RepositoryLockedError, StateError: as `repository_lock`.
    """
    file = _file(directory, snapshot)
    with gate(directory, repository, timeout=timeout, on_wait=on_wait):
        handle = lock_file(file)
        fcntl.flock(handle, fcntl.LOCK_SH)
    try:
        yield
    finally:
        os.close(handle)


def being_read(directory: Path, snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """Those of these snapshots that somebody on this host restores now.

    Whoever removes anything by the answer holds the gate from before the question.
    """
    return [snapshot for snapshot in snapshots if _is_read(_file(directory, snapshot))]


def forget(directory: Path, snapshots: Sequence[Snapshot]) -> None:
    """Take away the files of snapshots that are gone; the caller holds the gate."""
    for snapshot in snapshots:
        _file(directory, snapshot).unlink(missing_ok=True)


def _is_read(file: Path) -> bool:
    try:
        handle = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not try_lock(handle)
    finally:
        os.close(handle)


def _file(directory: Path, snapshot: Snapshot) -> Path:
    name = hashlib.sha256(f"{snapshot.repository}\n{snapshot.snapshot_id}".encode("utf-8", "surrogateescape"))
    return directory / "readers" / name.hexdigest()[:32]
