"""The process lab: a private directory for one restore test, and the reaper that finds what a killed one left.

A lab is marked as in use by a lock that its process holds on its directory. The kernel drops the lock when the
process ends, however it ends, so the reaper needs no process ids, which are used again; and unlike a file inside,
the directory is there and locked until the last of a lab is removed.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from backup_orchestration.core.locks import repository_lock, try_lock
from backup_orchestration.core.private_files import private_directory
from backup_orchestration.core.trees import destroy


@dataclass(frozen=True)
class ProcessLab:
    """A place to restore into.

    Attributes:
        root: private directory of this lab.
        data: empty directory that a snapshot is restored into.
    """

    root: Path
    data: Path


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
            destroy(root)
        finally:
            os.close(handle)


def reap(labs: Path) -> list[str]:
    """Destroy the labs that no process uses any more; returns their names."""
    if not labs.is_dir():
        return []
    with _registry(labs):
        return [root.name for root in sorted(labs.iterdir()) if root.is_dir() and _abandoned(root)]


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
        destroy(root)
        return True
    finally:
        os.close(handle)
