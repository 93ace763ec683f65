"""What a restore is made of: one backup set, looked at afterwards, and the WAL that its recovery reads."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backup_orchestration.core.errors import RestoreFailedError
from backup_orchestration.core.postgres import PGDATA, TABLESPACES, Programs, find_programs, major_of
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.providers._pgbackrest_cli import DAMAGED, PgBackRestCli, last_message
from backup_orchestration.providers._wal import Archive, last_end, segment_bytes

# The settings file that a restore rewrites may come out shorter than it was taken.
_REWRITTEN_BYTES = 64 << 10


def restore_set(
    cli: PgBackRestCli,
    snapshot: Snapshot,
    at: datetime | None,
    root: Path,
    wal: Path,
    tell: Callable[[float], None],
) -> tuple[int, int]:
    """Restore a set to `root/pgdata` and `root/tablespaces`, with a recovery that reads WAL from a directory.

    Returns:
        Files and bytes that are there now.

    Raises:
        RestoreFailedError: the repository is damaged, or not all came back.
    """
    done = cli.transfer(_arguments(snapshot, at, root / TABLESPACES, wal), tell)
    if done.returncode in DAMAGED:
        raise RestoreFailedError(f"pgBackRest could not restore {snapshot.key}: {last_message(done)}")
    if done.returncode != 0:
        raise cli.error(done)
    return _look(root, snapshot)


def _arguments(snapshot: Snapshot, at: datetime | None, spaces: Path, wal: Path) -> list[str]:
    """Without `--delta` and `--link-all`: both may lead to where production lives."""
    target = ["--type=immediate"]
    if at is not None:
        target = ["--type=time", f"--target={at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00"]
    return [
        *("restore", f"--set={snapshot.snapshot_id}", *target, "--target-action=promote", "--archive-mode=off"),
        f"--tablespace-map-all={spaces}",
        f"--recovery-option=restore_command=cp {_escaped(wal)}/%f %p",
    ]


def _look(root: Path, snapshot: Snapshot) -> tuple[int, int]:
    """Files and bytes that a restore has left, when they are all that the snapshot holds."""
    data = root / PGDATA
    for name in ("PG_VERSION", "global/pg_control", "backup_label", "recovery.signal"):
        if not (data / name).is_file():
            raise RestoreFailedError(f"pgbackrest restore of {snapshot.key} ended with exit code 0 without {name}")
    for link in (data / "pg_tblspc").iterdir():
        if not link.resolve().is_relative_to(root.resolve()):
            raise RestoreFailedError(f"{snapshot.key}: the tablespace {link.name} leads out of the lab")
    sizes = [path.stat().st_size for part in (PGDATA, TABLESPACES) for path in _files(root / part)]
    if sum(sizes) + _REWRITTEN_BYTES < snapshot.size_bytes:
        raise RestoreFailedError(
            f"{snapshot.key} holds {snapshot.size_bytes:,} bytes and {sum(sizes):,} came back, with exit code 0"
        )
    return len(sizes), sum(sizes)


def _files(directory: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(directory):
        yield from (path for name in names if not (path := Path(folder, name)).is_symlink())


def fetch_wal(cli: PgBackRestCli, held: Mapping[str, Any], at: datetime | None, data: Path, wal: Path) -> int:
    """Fetch what recovery reads: to the end of the set, or to a transaction after the moment. Returns bytes."""
    programs = find_programs(major_of(data))
    start, stop = str(held["archive"]["start"]), str(held["archive"]["stop"])

    def enough(file: Path) -> bool:
        if file.name < stop or at is None:
            return file.name >= stop
        ended = last_end(programs, file)
        return bool(ended and ended > at)

    return archive_of(cli, held, programs, data).fetch(start, wal, enough)


def archive_of(cli: PgBackRestCli, held: Mapping[str, Any], programs: Programs, data: Path) -> Archive:
    """The archive that a set belongs to; `data` is a data directory of the same cluster."""
    return Archive(cli, f"archive/{cli.stanza}/{held['archive-id']}", segment_bytes(programs, data, cli.user))


def _escaped(path: Path) -> str:
    """For a command in which `%` starts a placeholder, and which a shell reads."""
    return shlex.quote(str(path)).replace("%", "%%")
