"""Objects as plain files below one directory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from backup_orchestration.core.errors import StoreError
from backup_orchestration.core.private_files import private_directory, write_atomically


class DirectoryObjects:
    """See `Objects`."""

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

    def sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        """See `Objects`."""
        for directory, _, names in os.walk(self._root / prefix):
            for name in names:
                path = Path(directory) / name
                try:
                    yield path.relative_to(self._root).as_posix(), path.stat().st_size
                except FileNotFoundError:
                    continue

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """See `Objects`."""
        try:
            file = (self._root / name).open("rb")
        except FileNotFoundError as error:
            raise KeyError(name) from error
        except OSError as error:
            raise _refused(self._root / name, error) from error
        with file:
            yield file

    def read(self, name: str) -> bytes:
        """See `Objects`."""
        with self.open(name) as file:
            return file.read()

    def write(self, name: str, data: bytes) -> None:
        """See `Objects`."""
        path = self._root / name
        try:
            private_directory(path.parent)
            write_atomically(path, data)
        except OSError as error:
            raise _refused(path, error) from error

    def delete(self, name: str) -> None:
        """See `Objects`."""
        try:
            (self._root / name).unlink(missing_ok=True)
        except OSError as error:
            raise _refused(self._root / name, error) from error


def _refused(path: Path, error: OSError) -> StoreError:
    return StoreError(f"{path}: {error.strerror}", remedy="see its owner, its mode and the free space")
