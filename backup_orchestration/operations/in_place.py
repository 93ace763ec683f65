"""Restoring over the source: what is refused, and what a person must know before. Touches nothing.

What is not understood is refused: it is the only copy of somebody's work that is moved away.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from backup_orchestration.core import manifest
from backup_orchestration.core.errors import SourceError, UsageError
from backup_orchestration.core.mounts import mount_points
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.postmaster import PIDFILE, require_stopped
from backup_orchestration.core.processes import users_of
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.core.sources import Bucket, Files, Postgres
from backup_orchestration.core.trees import below
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations.restore_place import kept_away

_SHOWN = 3
_TO_DIRECTORY = "restore into a directory with --to, and put it back as the steps say that come with it"


@dataclass(frozen=True)
class Found:
    """What stands at a place now.

    Attributes:
        clusters: data directories in which a PostgreSQL server has left that it runs.
        foreign: entries that belong to another user.
        closed: directories that cannot be looked into.
    """

    clusters: tuple[Path, ...] = ()
    foreign: int = 0
    closed: tuple[Path, ...] = ()


def source_place(policy: BackupPolicy) -> Path:
    """Where a restore in place would go, the links above it followed.

    Raises:
        UsageError: the target's source is not files that stand somewhere, or nothing can stand there.
    """
    source, target = policy.source, policy.target
    if isinstance(source, Postgres):
        raise UsageError(
            f"{target}: --in-place is for files, and this is a PostgreSQL cluster: not built yet", remedy=_TO_DIRECTORY
        )
    if isinstance(source, Bucket):
        raise UsageError(
            f"{target}: --in-place is for files, and this is a bucket", remedy="restore into a directory with --to"
        )
    if not isinstance(source, Files):
        raise UsageError(
            f"{target}: --in-place has no meaning: what is stored is not what stands there, but what was made of it "
            f"({source.kind})",
            remedy=_TO_DIRECTORY,
        )
    return source.path.parent.resolve() / source.path.name


def refuse(homelab: Homelab, snapshot: Snapshot, place: Path) -> Found:
    """Refuse what must not be replaced, or what is not understood; returns what stands there.

    Raises:
        UsageError, SourceError: names what stands against it, and what a person can do.
    """
    source = homelab.policy(snapshot.target).source
    stored = [path for path in snapshot.paths if Path(path).name != manifest.FILENAME]
    if stored != [str(path) for path in source.paths]:
        raise UsageError(
            f"{snapshot.key} holds {', '.join(stored) or 'nothing'}, and the source of {snapshot.target} is "
            f"{source.summary}",
            remedy=_TO_DIRECTORY,
        )
    _refuse_neighbours(homelab, place)
    _require_place(place)
    found = look(place)
    if found.closed:
        raise UsageError(
            f"{found.closed[0]} cannot be looked into, so nobody knows what would be replaced",
            remedy="run it as root, or as who may read it",
        )
    for data in found.clusters:
        require_stopped(data)
    return found


def warnings(homelab: Homelab, target: str, place: Path, found: Found) -> Iterator[str]:
    """What a person must know before he replaces what stands there."""
    source = homelab.policy(target).source
    if users := users_of(place):
        more = f" and {len(users) - _SHOWN} more" if len(users) > _SHOWN else ""
        named = ", ".join(f"{name} (process {pid})" for pid, name in users[:_SHOWN])
        yield f"{named}{more} works in {place}, and would go on with what is moved away: stop it before"
    if isinstance(source, Files) and source.exclude:
        yield (
            f"{', '.join(source.exclude)} is excluded and in no snapshot: it will be with what is kept, and not at "
            f"{place}"
        )
    if os.geteuid() != 0:
        others = f"; {found.foreign:,} entries there belong to others now" if found.foreign else ""
        yield f"you are not root: all that is restored will be yours, without devices and trusted attributes{others}"


def look(place: Path) -> Found:
    """Look at what stands at a place, whole; nothing where there is nothing."""
    clusters, closed, foreign = [], [], 0
    for path, status in _entries(place):
        foreign += status.st_uid != os.geteuid()
        if stat.S_ISDIR(status.st_mode) and not os.access(path, os.R_OK | os.X_OK):
            closed.append(path)
        if path.name == PIDFILE:
            clusters.append(path.parent)
    return Found(tuple(sorted(clusters)), foreign, tuple(closed))


def _entries(place: Path) -> Iterator[tuple[Path, os.stat_result]]:
    if os.path.lexists(place):
        yield place, place.lstat()
    for entry in below(place):
        try:
            yield Path(entry.path), entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue


def require_root(homelab: Homelab, place: Path) -> None:
    """Refuse a place that the settings do not allow.

    Raises:
        UsageError: names the setting, and what it would have to hold.
    """
    roots = [(homelab.path.parent / root).resolve() for root in homelab.settings.restore_roots]
    if not any(root in place.parents for root in roots):
        held = f"names {', '.join(map(str, roots))}" if roots else "names no directory"
        raise UsageError(
            f"{place} lies outside of what may be replaced: {homelab.path}: restore_roots {held}",
            remedy=f'add restore_roots = ["{place.parent}"] above the first table, or restore with --to',
        )


def _refuse_neighbours(homelab: Homelab, place: Path) -> None:
    for what, kept in _neighbours(homelab):
        # Another target may protect the same source a second time; it is replaced for both.
        if kept == place and what.startswith("the source"):
            continue
        if kept.is_relative_to(place):
            raise UsageError(f"{what}, {kept}, lies in {place} and would be moved away", remedy=_TO_DIRECTORY)
        if place.is_relative_to(kept):
            raise UsageError(f"{place} lies in {what}, {kept}", remedy=_TO_DIRECTORY)


def _neighbours(homelab: Homelab) -> Sequence[tuple[str, Path]]:
    return [*kept_away(homelab), ("`home`", homelab.home.resolve()), ("the settings file", homelab.path.resolve())]


def _require_place(place: Path) -> None:
    if not str(place).isprintable():
        raise UsageError(f"{str(place)!r} holds what cannot be shown", remedy=_TO_DIRECTORY)
    if not place.parent.is_dir():
        raise UsageError(f"there is no directory {place.parent}", remedy="mount it, or make it")
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise UsageError(
            f"{place.parent} cannot be written, and what is replaced is kept there", remedy="run it as who may write it"
        )
    if place.is_symlink():
        raise UsageError(f"{place} is a symbolic link now, and was none", remedy="see where it leads, or use --to")
    if place.exists() and not (place.is_dir() or place.is_file()):
        raise UsageError(f"{place} is neither a file nor a directory", remedy="see what it is, or use --to")
    for point in mount_points():
        if point.is_relative_to(place):
            what = "is a mount point" if point == place else f"holds the mount point {point}"
            raise UsageError(
                f"{place} {what}, and cannot be renamed with what is in it",
                remedy=f"{_TO_DIRECTORY}, or take the mount away before",
            )


def require_kind(place: Path, new: Path) -> None:
    """Refuse to replace a directory by a file, or the other way.

    Raises:
        SourceError: names both.
    """
    if os.path.lexists(place) and place.is_dir() != new.is_dir():
        kinds = ("directory", "file") if place.is_dir() else ("file", "directory")
        raise SourceError(f"{place} is a {kinds[0]} now, and was a {kinds[1]}", remedy=_TO_DIRECTORY)
