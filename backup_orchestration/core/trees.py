"""Directory trees that somebody else has made: as deep as a path may be, with any mode, link or special file in them.

Nothing here follows a link, opens a file, or calls itself: `os.walk` and `shutil.rmtree` of Python 3.11 give up on a
tree of a thousand levels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def below(root: Path) -> Iterator[os.DirEntry[str]]:
    """Everything below a directory, parents before what is in them; nothing if `root` is none, or a link to one.

    A directory that cannot be read counts as empty.
    """
    pending = [] if root.is_symlink() else [str(root)]
    while pending:
        try:
            with os.scandir(pending.pop()) as listing:
                entries = list(listing)
        except OSError:
            continue
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)


def destroy(root: Path) -> None:
    """Remove a directory tree whatever modes its directories have; links are removed, never followed.

    Raises:
        OSError: it is not ours to remove.
    """
    directories = [str(root)]
    for directory in directories:  # grows while it is read
        Path(directory).chmod(0o700)
        with os.scandir(directory) as listing:
            for entry in listing:
                if entry.is_dir(follow_symlinks=False):
                    directories.append(entry.path)
                else:
                    Path(entry.path).unlink()
    for directory in reversed(directories):
        Path(directory).rmdir()
