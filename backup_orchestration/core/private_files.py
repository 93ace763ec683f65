"""Files that only we may read, and files that are whole or not there."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def private_directory(path: Path) -> Path:
    """Make a directory, and the missing ones above it, that only this user can enter; return it."""
    if not path.is_dir():
        private_directory(path.parent) if not path.parent.is_dir() else None
        path.mkdir(mode=0o700, exist_ok=True)
    return path


@contextmanager
def private_file(directory: Path, text: str) -> Iterator[Path]:
    """A 0600 file with this text, gone after the block; those that killed processes have left here go now.

    It is locked while it is used. The kernel drops the lock when its process ends, however it ends.
    """
    for left in directory.glob("secret-*"):
        _remove_abandoned(left)
    name = secrets.token_hex(8)
    path, empty = directory / f"secret-{name}", directory / f"new-{name}"
    handle = os.open(empty, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            empty.rename(path)
            file.write(text)
            file.flush()
            yield path
        finally:
            path.unlink(missing_ok=True)


def _remove_abandoned(path: Path) -> None:
    with suppress(FileNotFoundError, BlockingIOError):
        handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(handle)


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new one and never a part.

    Raises:
        OSError: the directory is not writable or full; the old content stays.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
