"""Files for a tool that runs as another user, such as the owner of a database.

Only root can hand anything to somebody else; everybody else's tools run as himself, and nothing changes.
"""

from __future__ import annotations

import os
from pathlib import Path

from backup_orchestration.core.commands import Command, run
from backup_orchestration.core.errors import SourceError
from backup_orchestration.core.private_files import private_directory, write_atomically

_SEARCH = 0o011


def directory_for(user: int, path: Path) -> Path:
    """Make a directory that only this user (and root) can enter; return it."""
    private_directory(path)
    if path.stat().st_uid != user:
        os.chown(path, user, -1, follow_symlinks=False)
    return path


def file_for(user: int, path: Path, text: str) -> Path:
    """A 0600 file of this user with this text; it is not touched where it is so already."""
    if not path.is_file() or path.stat().st_uid != user or path.read_text(encoding="utf-8") != text:
        write_atomically(path, text.encode(), owner=user)
    return path


def let_pass(user: int, path: Path, top: Path) -> None:
    """Let a user pass to a directory through those of ours that lead there: search permission, no listing.

    Args:
        user: whom.
        path: where to.
        top: the highest directory that is ours to change.

    Raises:
        SourceError: a directory above it keeps the user out.
    """
    if user == os.geteuid():
        return
    for part in (path, *path.parents):
        if part.is_relative_to(top) and part.stat().st_uid == os.geteuid():
            part.chmod(part.stat().st_mode & 0o7777 | _SEARCH)
    if run(Command(("test", "-x", str(path)), 20, user=user)).returncode != 0:
        raise SourceError(
            f"user {user}, who owns the database, cannot reach {path}",
            remedy=f"let that user pass through the directories above {top}, or move it",
        )
