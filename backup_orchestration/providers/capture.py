"""What stands between a source and the tool that stores it: pre-flight, staging, the manifest.

Shared by every provider that stores files.
"""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from backup_orchestration.core import manifest
from backup_orchestration.core.commands import Command, run
from backup_orchestration.core.errors import SourceError, SpaceError
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.private_files import private_directory
from backup_orchestration.core.sources import Export, Files, Sqlite
from backup_orchestration.core.sqlite_rows import count_rows, distrust
from backup_orchestration.core.trees import destroy
from backup_orchestration.providers.base import BackupSpec

_BUSY_SECONDS = 30.0
# What a file system needs besides the data itself before it is called full.
_RESERVE_BYTES = 32 << 20


@dataclass(frozen=True)
class Capture:
    """A source made ready to be stored.

    Attributes:
        paths: absolute paths to store, the manifest among them.
        exclude: patterns of the policy.
        started_at: the moment the data is as of.
        totals: what was counted.
    """

    paths: tuple[Path, ...]
    exclude: tuple[str, ...]
    started_at: datetime
    totals: manifest.Totals


@contextmanager
def captured(policy: BackupPolicy, spec: BackupSpec, staging: Path, now: Callable[[], datetime]) -> Iterator[Capture]:
    """Make any source but a dump ready; what was staged is gone after the block.

    Raises:
        SourceError: the source is missing, unreadable or empty.
        SpaceError: no room to stage it.
    """
    try:
        with naming_a_full_disk(staging):
            empty_staging(staging)
            capture = _prepared(policy, spec, staging, now)
        yield capture
    finally:
        with naming_a_full_disk(staging):
            empty_staging(staging)


@contextmanager
def naming_a_full_disk(directory: Path) -> Iterator[None]:
    """Say which directory is on the disk that became full in the block.

    Raises:
        SpaceError: it did.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise full_disk(directory) from error


def full_disk(directory: Path | str) -> SpaceError:
    """The error for a disk that became full while something was written to it."""
    return SpaceError(f"{directory} is full", remedy="free room there, or move it to a larger disk")


def _prepared(policy: BackupPolicy, spec: BackupSpec, staging: Path, now: Callable[[], datetime]) -> Capture:
    started = now()
    source = policy.source
    rows: dict[str, dict[str, int]] = {}
    exclude: tuple[str, ...] = ()
    if isinstance(source, Sqlite):
        copy = staging / source.path.name
        rows = {str(copy): copy_database(source.path, copy)}
        root = copy
    elif isinstance(source, Files):
        root, exclude = source.path, source.exclude
    elif isinstance(source, Export):
        root = _exported(source, staging / "export")
    else:
        raise TypeError(f"{source.kind} is not captured as files")
    header = manifest.Header(policy.target, spec.run_id, (str(root),), _nanoseconds(started), rows, spec.facts())
    skipped = source.excludes if isinstance(source, Files) else _nothing
    path = staging / manifest.FILENAME
    with path.open("x", encoding="ascii") as out:
        totals = manifest.write(out, header, manifest.scan(root, skipped), lambda: _nanoseconds(now()))
    _refuse_empty(policy, totals)
    return Capture((root, path), exclude, started, totals)


def empty_staging(staging: Path) -> None:
    """Leave the staging directory there and empty, whatever a killed backup left in it."""
    if staging.is_dir():
        destroy(staging)  # an export may leave directories there that cannot be entered
    private_directory(staging)


def require_space(directory: Path, needed: int, what: str) -> None:
    """Refuse before anything is written when a file system has not room enough.

    Raises:
        SpaceError: names the directory and all numbers.
    """
    there = next(path for path in (directory, *directory.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed + _RESERVE_BYTES:
        raise SpaceError(
            f"{what} needs {needed:,} bytes, and {_RESERVE_BYTES:,} to spare, and {directory} has {free:,} free",
            remedy="free room there, or move it to a larger disk",
        )


def copy_database(source: Path, copy: Path) -> dict[str, int]:
    """Copy an SQLite database through its backup API and count the rows of each table.

    Counting and copying happen in one read transaction, so that the counts are those of the copy, also
    while others write.

    Raises:
        SourceError: it is missing, busy for too long, or not a database.
        SpaceError: no room for the copy.
    """
    if not source.is_file():
        raise SourceError(f"the source {source} does not exist", remedy="mount it, or correct the policy")
    require_space(copy.parent, source.stat().st_size, f"the copy of {source}")
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True, timeout=_BUSY_SECONDS)) as live,
            closing(sqlite3.connect(copy)) as target,
        ):
            live.isolation_level = None
            distrust(live, source.stat().st_size)
            live.execute("BEGIN")
            rows = dict(count_rows(live))
            live.backup(target)
            live.execute("ROLLBACK")
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise full_disk(copy.parent) from error
        raise SourceError(
            f"the source {source} cannot be copied as an SQLite database: {error}",
            remedy="see whether it is one, who may read it, and who holds it locked",
        ) from error
    copy.chmod(0o600)
    return rows


def _exported(source: Export, directory: Path) -> Path:
    """Run an export in a directory of its own, which it fills."""
    done = run(Command(source.command, source.timeout, cwd=private_directory(directory)))
    if done.returncode != 0:
        raise SourceError(
            f"the export {done.name} ended with exit code {done.returncode}: {done.reason}",
            remedy="run it by hand in an empty directory and see what it says",
        )
    return directory


def _refuse_empty(policy: BackupPolicy, totals: manifest.Totals) -> None:
    if totals.files + totals.links == 0:
        raise SourceError(
            f"the source of {policy.target} is empty: no file in it is left to save",
            remedy="see whether it is mounted and whether `exclude` leaves anything",
        )


def _nothing(_path: PurePosixPath) -> bool:
    return False


def _nanoseconds(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp() * 1_000_000_000)
