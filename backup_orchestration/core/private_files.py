"""Files that only we may read, and files that are whole or not there."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "secret-"


def private_directory(path: Path) -> Path:
    """Make a directory, and the missing ones above it, that only this user can enter; return it."""
    if not path.is_dir():
        private_directory(path.parent) if not path.parent.is_dir() else None
        path.mkdir(mode=0o700, exist_ok=True)
    return path


@contextmanager
def private_file(directory: Path, text: str) -> Iterator[Path]:
    """A 0600 file with this text, gone after the block. Those that killed processes left there go first.

    It is locked for the block: the kernel drops the lock when its process ends, however it ends.
    """
    _sweep(directory)
    handle, path = _locked_file(directory)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        try:
            file.write(text)
            file.flush()
            yield path
        finally:
            path.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes, mode: int = 0o600, owner: int = -1) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new one and never a part.

    Args:
        path, data, mode: of the file.
        owner: user id it is given to; -1: us.

    Raises:
        OSError: the directory is not writable or full; the old content stays.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchown(file.fileno(), owner, -1)
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _locked_file(directory: Path) -> tuple[int, Path]:
    while True:
        path = directory / f"{_PREFIX}{secrets.token_hex(8)}"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, path
        os.close(handle)  # another process swept it away before it was locked


def _sweep(directory: Path) -> None:
    for path in directory.glob(f"{_PREFIX}*"):
        with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def sync_directory(path: Path) -> None:
    """See that the names in a directory survive a crash.

    Raises:
        OSError: it cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
