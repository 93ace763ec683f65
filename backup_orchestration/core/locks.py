"""One writer per repository on this host. Across hosts the tool's own lock holds.

A lock is a file held by flock: the kernel lets go of it when its process ends, however it ends.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from backup_orchestration.core.errors import RepositoryLockedError, StateError
from backup_orchestration.core.private_files import private_directory

_POLL_SECONDS = 0.2


@contextmanager
def repository_lock(
    directory: Path, repository: str, *, timeout: float, on_wait: Callable[[], None] | None = None
) -> Iterator[None]:
    """Hold a repository for the block.

    Args:
        directory: where lock files live; shared by all processes of one installation.
        repository: location of the repository.
        timeout: seconds to wait for another holder.
        on_wait: called once when it must wait.

    Raises:
        RepositoryLockedError: another process held it for that long.
        StateError: its file cannot be made.
    """
    name = hashlib.sha256(repository.encode("utf-8", "surrogateescape")).hexdigest()[:24]
    handle = lock_file(directory / f"{name}.lock")
    try:
        _acquire(handle, repository, timeout, on_wait)
        with suppress(OSError):  # for whoever waits; a full disk keeps nobody from holding it
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()} {repository}\n".encode("utf-8", "surrogateescape"), 0)
        yield
    finally:
        os.close(handle)


def lock_file(path: Path) -> int:
    """Open a file that is held by flock, and make it where it is not; the caller closes it.

    Raises:
        StateError: it cannot be made.
    """
    try:
        return os.open(private_directory(path.parent) / path.name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateError(
            f"no lock can be made in {path.parent}: {error.strerror}",
            remedy="see its owner, its mode and the free space",
        ) from error


def _acquire(handle: int, repository: str, timeout: float, on_wait: Callable[[], None] | None) -> None:
    deadline = time.monotonic() + timeout
    waited = False
    while not try_lock(handle):
        if not waited and on_wait:
            on_wait()
        waited = True
        if time.monotonic() >= deadline:
            holder = os.pread(handle, 20, 0).decode("ascii", "replace").split(" ")[0] or "unknown"
            raise RepositoryLockedError(
                f"{repository} is held by process {holder} for more than {timeout:g} s",
                remedy="wait for that run to end",
            )
        time.sleep(_POLL_SECONDS)


def try_lock(handle: int) -> bool:
    """Take an exclusive flock on an open file if it is free; say whether it was."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True
