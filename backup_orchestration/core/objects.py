"""Where small records are kept: names to bytes. A directory today; a bucket has the same three calls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from backup_orchestration.core.errors import EvidenceError
from backup_orchestration.core.private_files import private_directory, write_atomically


class Objects(Protocol):
    """Names to bytes. Names use `/`, start without it, and are never user input."""

    def names(self, prefix: str) -> Sequence[str]:
        """All names directly under `prefix/`, sorted; empty when there is none."""
        ...

    def read(self, name: str) -> bytes:
        """The bytes of a name; KeyError when it is not there."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Put a name there, whole or not at all."""
        ...


class DirectoryObjects:
    """Objects as plain files below one directory.

    Raises:
        EvidenceError: from every method, when the file system refuses.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self, prefix: str) -> Sequence[str]:
        """See `Objects`."""
        try:
            entries = sorted(path.name for path in (self._root / prefix).iterdir() if path.is_file())
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise _refused(self._root / prefix, error) from error
        return tuple(f"{prefix}/{name}" for name in entries if not name.startswith("."))

    def read(self, name: str) -> bytes:
        """See `Objects`."""
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError as error:
            raise KeyError(name) from error
        except OSError as error:
            raise _refused(self._root / name, error) from error

    def write(self, name: str, data: bytes) -> None:
        """See `Objects`."""
        path = self._root / name
        try:
            private_directory(path.parent)
            write_atomically(path, data)
        except OSError as error:
            raise _refused(path, error) from error


def _refused(path: Path, error: OSError) -> EvidenceError:
    return EvidenceError(f"{path}: {error.strerror}", remedy="see owner, mode and free space of the evidence store")
