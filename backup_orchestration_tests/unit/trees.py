"""A captured tree and its restored copy, made without any backup tool."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backup_orchestration.core import manifest
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.core.sources import Files, Sqlite
from backup_orchestration.probes.base import Finding, Restored
from backup_orchestration.probes.files import FilesOptions, FilesProbe

# The capture lasts a minute; the files are a day older.
STARTED = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
FINISHED = STARTED + timedelta(minutes=1)
DAY_BEFORE = STARTED - timedelta(days=1)


def touch(path: Path, moment: datetime = DAY_BEFORE) -> None:
    """Give a file, a directory or a link this time of modification."""
    nanoseconds = int(moment.timestamp()) * 10**9
    os.utime(path, ns=(nanoseconds, nanoseconds), follow_symlinks=False)


def touch_all(root: Path) -> None:
    """Everything below, deepest first, is a day old."""
    for directory, folders, names in os.walk(root, topdown=False):
        for name in (*folders, *names):
            touch(Path(directory) / name)
    touch(root)


@dataclass
class Capture:
    """A source that was captured, and the lab it came back into; tests change one or the other.

    Attributes:
        source: the directory or database that was captured.
        lab: directory below which everything stands under its whole path.
    """

    source: Path
    lab: Path
    run_id: str = "run-1"

    @property
    def copy(self) -> Path:
        """Where the source stands in the lab."""
        return self.lab / str(self.source).lstrip("/")

    @property
    def listed(self) -> Path:
        """The manifest in the lab."""
        return self.lab / "staging" / manifest.FILENAME

    def take(self, rows: Mapping[str, int] | None = None, facts: Mapping[str, object] | None = None) -> Capture:
        """Write the manifest of the source as it is now, then copy everything into the lab."""
        self.listed.parent.mkdir(parents=True)
        counted = {} if rows is None else {str(self.source): dict(rows)}
        roots, known = (str(self.source),), dict(facts or {})
        header = manifest.Header("app/files", self.run_id, roots, nanoseconds(STARTED), counted, known)
        with self.listed.open("w", encoding="ascii") as out:
            manifest.write(out, header, manifest.scan(self.source, lambda _: False), lambda: nanoseconds(FINISHED))
        self.restore()
        return self

    def restore(self) -> None:
        """Copy the source into the lab as it is now."""
        self.copy.parent.mkdir(parents=True, exist_ok=True)
        if self.source.is_dir():
            shutil.copytree(self.source, self.copy, symlinks=True)
        else:
            shutil.copy2(self.source, self.copy)

    def restored(self, **snapshot_fields: object) -> Restored:
        """What a probe is given."""
        kind = Files if self.source.is_dir() else Sqlite
        snapshot = Snapshot(
            "app/files", "restic", "/repository", "repo-1", "a" * 64, STARTED, 1, run_id=self.run_id,
            paths=(str(self.source), f"/staging/{manifest.FILENAME}"), finished_at=FINISHED,
        )  # fmt: skip
        policy = BackupPolicy(target="app/files", source=kind(path=self.source))
        return Restored(self.lab, policy, replace(snapshot, **snapshot_fields), FINISHED + timedelta(hours=1))

    def probe(self, **snapshot_fields: object) -> Finding:
        """Run the `files` probe."""
        return FilesProbe().check(self.restored(**snapshot_fields), FilesOptions())


def nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 10**9
