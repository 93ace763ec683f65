"""A directory that is there whole or not at all: it is filled beside its place, and renamed when it is whole.

What a killed process has left beside the place is known by a file of ours in it, and by a lock on that file that nobody
holds any more; the next one who fills the same place removes it.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backup_orchestration.core.errors import StateError
from backup_orchestration.core.locks import try_lock
from backup_orchestration.core.trees import destroy

_MARK = "homelab-partial"


@dataclass
class Partial:
    """A directory in the making.

    Attributes:
        root: private directory beside the place, removed at the end of the block whatever happens.
        data: empty directory in it that is to become the place.
        place: absolute path, where nothing or an empty directory is.
    """

    root: Path
    data: Path
    place: Path

    def keep(self, mode: int = 0o700) -> None:
        """Put what was filled in its place.

        Args:
            mode: of the place, whatever a tool has made of it meanwhile.

        Raises:
            StateError: something came there meanwhile; it is not touched.
        """
        self.data.chmod(mode)
        os.sync()  # a name that is there after a crash has its content
        try:
            self.data.rename(self.place)
        except OSError as error:
            taken = error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
            raise StateError(
                f"{self.place} is not empty any more" if taken else f"{self.place} cannot be made: {error.strerror}",
                remedy="choose another directory that is new or empty",
            ) from error


@contextmanager
def partial_directory(place: Path) -> Iterator[Partial]:
    """Make a directory to fill, for the block; what was not kept by its end is gone.

    Args:
        place: absolute path; the directory above it exists.

    Raises:
        StateError: nothing can be made beside it.
    """
    try:
        sweep(place)
        root = place.with_name(f"{place.name}.partial-{secrets.token_hex(8)}")
        root.mkdir(mode=0o700)
        mark = os.open(root / _MARK, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateError(
            f"{place.parent} cannot be written: {error.strerror}", remedy="see its owner and mode, or choose another"
        ) from error
    try:
        try_lock(mark)
        data = root / "data"
        data.mkdir(mode=0o700)
        yield Partial(root, data, place)
    finally:
        try:
            _remove(root)
        finally:
            os.close(mark)


def sweep(place: Path) -> None:
    """Remove what killed processes have left beside a place; what somebody works in stays.

    Raises:
        OSError: it is not ours to remove.
    """
    for left in leftovers(place):
        _remove_if_abandoned(left)


def leftovers(place: Path) -> list[Path]:
    """Directories in the making beside a place, sorted: of processes that work, and of those that were killed."""
    named = re.compile(re.escape(place.name) + r"\.partial-[0-9a-f]{16}")
    found = place.parent.iterdir() if place.parent.is_dir() else ()
    return sorted(path for path in found if named.fullmatch(path.name) and (path / _MARK).is_file())


def _remove_if_abandoned(root: Path) -> None:
    mark = os.open(root / _MARK, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if try_lock(mark):
            _remove(root)
    finally:
        os.close(mark)


def _remove(root: Path) -> None:
    """The mark goes last: what is left of a removal that was killed is found again."""
    for path in root.iterdir():
        if path.is_dir() and not path.is_symlink():
            destroy(path)
        elif path.name != _MARK:
            path.unlink()
    destroy(root)
