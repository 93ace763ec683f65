"""The process lab: a private directory for one restore test, and the reaper that finds what a killed one left.

A lab is marked as in use by a lock that its process holds on its directory. The kernel drops the lock when the
process ends, however it ends, so the reaper needs no process ids, which are used again; and unlike a file inside,
the directory is there and locked until the last of a lab is removed.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from backup_orchestration.core.locks import repository_lock, try_lock
from backup_orchestration.core.private_files import private_directory
from backup_orchestration.core.processes import kill_inside
from backup_orchestration.core.trees import destroy

_KILL_SECONDS = 30.0
# A socket's path has at most 107 bytes (unix(7)), and a lab's may be longer.
_SHORT_PATH = 60


@dataclass(frozen=True)
class ProcessLab:
    """A place to restore into.

    Attributes:
        root: private directory of this lab; what is started for it must work inside, by which it is found.
        data: empty directory that a snapshot is restored into.
    """

    root: Path
    data: Path

    def sockets(self) -> Path:
        """A private directory with a short path; gone with the lab."""
        path = _sockets(self.root)
        path.mkdir(mode=0o700)
        return path


@contextmanager
def process_lab(labs: Path, name: str) -> Iterator[ProcessLab]:
    """Build a lab for the block and destroy it afterwards.

    Args:
        labs: directory that holds all labs of this installation.
        name: what the lab is for; makes its directory readable for people.
    """
    root = private_directory(labs) / f"{name}-{secrets.token_hex(4)}"
    with _registry(labs):
        root.mkdir(mode=0o700)
        handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try_lock(handle)
    try:
        data = root / "data"
        data.mkdir(mode=0o700)
        yield ProcessLab(root, data)
    finally:
        try:
            _end(root)
        finally:
            os.close(handle)


def reap(labs: Path) -> list[str]:
    """Destroy the labs that no process uses any more; returns their names."""
    if not labs.is_dir():
        return []
    with _registry(labs):
        return [root.name for root in sorted(labs.iterdir()) if root.is_dir() and _abandoned(root)]


def _end(root: Path) -> None:
    """Destroy a lab with all that still works in it: a server outlives who started it for a moment, or for ever."""
    kill_inside(root, _KILL_SECONDS)
    sockets = _sockets(root)
    if sockets.is_dir() and not sockets.is_symlink() and sockets.stat().st_uid == os.geteuid():
        destroy(sockets)
    destroy(root)


def _sockets(root: Path) -> Path:
    """Named by what is random in the lab's name, so that the reaper knows it too."""
    temporary = Path(tempfile.gettempdir())
    short = temporary if len(os.fsencode(temporary)) <= _SHORT_PATH else Path("/tmp")  # noqa: S108 - private: see mkdir
    return short / f"homelab-{root.name.rpartition('-')[2]}"


def _registry(labs: Path) -> AbstractContextManager[None]:
    """Held while a lab is marked as in use, so that the reaper does not meet one that is not marked yet."""
    return repository_lock(labs.with_name(f"{labs.name}-lock"), str(labs), timeout=60)


def _abandoned(root: Path) -> bool:
    try:
        handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        if not try_lock(handle):
            return False
        _end(root)
        return True
    finally:
        os.close(handle)
