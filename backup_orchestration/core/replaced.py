"""A file or a directory that comes into the place of another one, which is kept beside it and never lost.

What was there is renamed into a private directory beside the place, `<name>.before-…`, with a note in it; then the new
one is renamed into the place. Who is killed in between leaves the note, and from the note and from what lies where it
is known what had happened: `settle` puts the old one back, or finds that all was done. No step copies anything.
"""

from __future__ import annotations

import errno
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path

from backup_orchestration.core.errors import StateError
from backup_orchestration.core.locks import try_lock
from backup_orchestration.core.private_files import sync_directory

_OPEN = "homelab-replacing.json"
_DONE = "homelab-replaced.json"


class Outcome(Enum):
    """What became of a replacement."""

    WORKING = "somebody works on it now"
    UNTOUCHED = "nothing was replaced"
    PUT_BACK = "what was there before was put back"
    REPLACED = "replaced; what was there before is kept"
    STRANGER = "something else has come to the place; nothing was touched"


@dataclass(frozen=True)
class Replacement:
    """A private directory beside a place, for what stood there.

    Attributes:
        root: the directory.
        place: absolute path.
    """

    root: Path
    place: Path

    @property
    def old(self) -> Path:
        """Where that is kept, or will be."""
        return self.root / self.place.name

    @property
    def done(self) -> bool:
        """The replacement came to its end; what is kept is whoever's it was, and nobody here removes it."""
        return (self.root / _DONE).is_file()


def replace(place: Path, new: Path, key: str, moment: datetime) -> Replacement:
    """Put what was made beside a place into the place, and keep what is there.

    Args:
        place: absolute path of a file or a directory, no link and no mount point.
        new: of the same kind, on the same file system.
        key, moment: of the snapshot, and now, UTC; the directory in which the old one is kept is named by them.

    Returns:
        Where that is.

    Raises:
        StateError: it cannot be done; what was there is there. If something else has come to the place meanwhile, it is
            not touched, and the message says where the old one is.
    """
    kept = Replacement(place.with_name(f"{place.name}.before-{key}-{moment:%Y%m%dT%H%M%SZ}"), place)
    reason = ""
    mark = _begin(kept)
    try:
        _note(mark, kept, new)
        os.sync()  # a name that is there after a crash has its content
        _move(place, kept.old)
        _move(new, place)
    except OSError as error:
        reason = error.strerror or str(error)
    finally:
        try:
            outcome = _settle(kept)
        finally:
            os.close(mark)
    if outcome is Outcome.STRANGER:
        raise stranger(kept)
    if outcome is not Outcome.REPLACED:
        raise StateError(f"{place} cannot be replaced: {reason}", remedy="see owner and mode of the directory above it")
    return kept


def replacements(place: Path) -> list[Replacement]:
    """What lies beside a place of replacements: done, killed and going on; sorted.

    Who may not see what lies there has replaced nothing there.
    """
    named = re.compile(re.escape(place.name) + r"\.before-\d{8}T\d{6}Z-.+-\d{8}T\d{6}Z")
    try:
        found = [path for path in place.parent.iterdir() if named.fullmatch(path.name)]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
    return [Replacement(path, place) for path in sorted(found) if _is_ours(path)]


def settle(kept: Replacement) -> Outcome:
    """Bring to an end what a killed process has begun; what is done, or going on, is not touched.

    Raises:
        StateError: it cannot be done; nothing is lost.
    """
    if kept.done:
        return Outcome.REPLACED
    try:
        mark = os.open(kept.root / _OPEN, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        with suppress(OSError):  # it was killed before it wrote the note: there is nothing else in there
            kept.root.rmdir()
        return Outcome.UNTOUCHED
    try:
        return _settle(kept) if try_lock(mark) else Outcome.WORKING
    except OSError as error:
        raise StateError(
            f"{kept.old} cannot be put back to {kept.place}: {error.strerror}", remedy="see owner and mode of both"
        ) from error
    finally:
        os.close(mark)


def stranger(kept: Replacement) -> StateError:
    """The error for a place to which something else has come while it was empty."""
    return StateError(
        f"something else has come to {kept.place} while it was replaced; what was there before is {kept.old}",
        remedy=f"stop what writes there, move {kept.place} away, then put {kept.old} back by hand or by --resume",
    )


def _begin(kept: Replacement) -> int:
    """Make the directory and an empty note; returns the note, open and locked."""
    try:
        kept.root.mkdir(mode=0o700)
        mark = os.open(kept.root / _OPEN, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateError(
            f"nothing can be kept beside {kept.place}: {error.strerror}",
            remedy=f"see owner, mode and free space of {kept.place.parent}",
        ) from error
    try_lock(mark)
    return mark


def _note(mark: int, kept: Replacement, new: Path) -> None:
    """The number of the new one tells it from whatever else may come to the place. A device's changes with a boot."""
    os.write(mark, json.dumps({"place": str(kept.place), "new": new.lstat().st_ino}).encode("ascii"))
    os.fsync(mark)
    sync_directory(kept.root)
    sync_directory(kept.place.parent)


def _settle(kept: Replacement) -> Outcome:
    """What had happened is seen from what lies where; the caller holds the note."""
    old, there = _identity(kept.old), _identity(kept.place)
    if old is not None and there is None:
        _move(kept.old, kept.place)
        old, there = None, old
        outcome = Outcome.PUT_BACK
    elif old is not None and there == (old[0], _noted(kept)):
        (kept.root / _OPEN).rename(kept.root / _DONE)
        sync_directory(kept.root)
        return Outcome.REPLACED
    elif old is not None and there != old:
        return Outcome.STRANGER
    else:
        outcome = Outcome.UNTOUCHED
    if old is not None:  # a file with both names: it was killed between the one and the other
        kept.old.unlink()
    (kept.root / _OPEN).unlink()
    kept.root.rmdir()
    sync_directory(kept.place.parent)
    return outcome


def _move(path: Path, to: Path) -> None:
    """Rename, over nothing but an empty directory."""
    if path.is_dir() and not path.is_symlink():
        path.rename(to)
    else:
        os.link(path, to, follow_symlinks=False)
        path.unlink()
    sync_directory(path.parent)
    sync_directory(to.parent)


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and number, which tell it from everything else on this machine; None where there is nothing."""
    try:
        status = path.lstat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise
    return status.st_dev, status.st_ino


def _noted(kept: Replacement) -> object:
    try:
        return json.loads((kept.root / _OPEN).read_bytes()).get("new")
    except (ValueError, AttributeError):
        return None


def _is_ours(root: Path) -> bool:
    """A note is in it, or nothing at all: it was killed before it wrote one."""
    if root.is_symlink() or not root.is_dir():
        return False
    try:
        names = {path.name for path in root.iterdir()}
    except OSError:
        return False
    return not names or bool(names & {_OPEN, _DONE})
