"""`files`: everything that the manifest lists is there, with its bytes, its mode and its links.

A source may be written while it is captured: first the manifest hashes it, then the tool reads it. What changed
in between is recognised by its modification time, which lies inside the capture and differs from the manifest's;
the same holds for a directory whose entries came or went. Such entries are checked for presence, counted and
reported. Everything else must match bit by bit.
"""

from __future__ import annotations

import os
import stat
from datetime import datetime
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BeforeValidator

from backup_orchestration.core import manifest
from backup_orchestration.core.errors import ProbeFailedError
from backup_orchestration.core.frozen import Frozen, tuple_of
from backup_orchestration.core.manifest import Entry, Header
from backup_orchestration.core.sources import AbsolutePath
from backup_orchestration.core.trees import below
from backup_orchestration.probes.base import Finding, ProbeKind, Restored

_SHOWN = 3
_SECOND_NS = 1_000_000_000


class FilesOptions(Frozen):
    """Options of the probe.

    Attributes:
        required: absolute paths of the source that must be there and not empty, whatever the manifest lists.
    """

    required: Annotated[tuple[AbsolutePath, ...], BeforeValidator(tuple_of)] = ()


class FilesProbe(ProbeKind[FilesOptions]):
    """See the module."""

    name: ClassVar[str] = "files"
    sources: ClassVar[tuple[str, ...]] = ("files", "sqlite", "dump", "export", "pg_dump")
    options: ClassVar[type[Frozen]] = FilesOptions

    def check(self, restored: Restored, options: FilesOptions) -> Finding:
        """See `ProbeKind`."""
        path = restored.manifest_path()
        found = _check_dump(restored) if path is None else _check_tree(restored, path)
        for required in options.required:
            there = restored.inside(str(required))
            if not there.exists() or (there.is_file() and not there.stat().st_size):
                raise ProbeFailedError(f"{required} is required and is missing or empty")
        return found


def _check_dump(restored: Restored) -> Finding:
    (source,) = restored.snapshot.paths
    path = restored.inside(source)
    if not path.is_file():
        raise ProbeFailedError(f"{source} is missing")
    size = path.stat().st_size
    if size != restored.snapshot.size_bytes or not size:
        raise ProbeFailedError(f"{source} has {size:,} bytes, the dump had {restored.snapshot.size_bytes:,}")
    return Finding(f"1 file, {size:,} bytes", {"files": 1, "bytes": size})


def _check_tree(restored: Restored, path: Path) -> Finding:
    header, entries, totals = manifest.read(path)
    if (header.target, header.run_id) != (restored.snapshot.target, restored.snapshot.run_id):
        raise ProbeFailedError(f"the manifest belongs to {header.target}, run {header.run_id}")
    comparison = _Comparison(restored, header)
    for entry in entries:
        comparison.compare(entry)
    expected = totals()
    comparison.look_for_strangers(path)
    if comparison.faults:
        shown = "; ".join(comparison.faults[:_SHOWN])
        more = len(comparison.faults) - _SHOWN
        raise ProbeFailedError(f"{shown} (and {more} more)" if more > 0 else shown)
    changed = f", {comparison.changed:,} changed during the capture" if comparison.changed else ""
    return Finding(
        f"{expected.files:,} files, {expected.bytes:,} bytes as captured{changed}",
        {
            "files": expected.files,
            "directories": expected.directories,
            "links": expected.links,
            "bytes": expected.bytes,
            "changed_during_capture": comparison.changed,
        },
    )


class _Comparison:
    """The manifest held against the restored tree."""

    def __init__(self, restored: Restored, header: Header) -> None:
        self.faults: list[str] = []
        self.changed = 0
        self._restored = restored
        self._roots = [restored.path(root) for root in header.roots]
        for root in self._roots:
            restored.within(root.parent)
        end = restored.snapshot.finished_at or restored.started_at
        self._window = range(header.started_ns, _nanoseconds(end) + _SECOND_NS)
        self._seen: set[str] = set()
        self._directories: dict[str, int] = {}
        self._broken: set[str] = set()
        # Without root, a file whose group is not ours loses setuid and setgid when it is restored.
        self._modes = 0o7777 if os.geteuid() == 0 else 0o777

    def compare(self, entry: Entry) -> None:
        """Hold one entry against what came back."""
        path = self._restored.path(entry.path)
        self._require_place(entry, path)
        self._seen.add(str(path))
        if entry.kind == "dir":
            self._directories[str(path)] = entry.mtime_ns
        if str(path.parent) in self._broken:  # a link may stand there now: what is behind it is not ours
            self._break(entry, path, "is missing")
            return
        try:
            status = path.lstat()
        except OSError:
            if self._moved(path.parent):
                self.changed += 1
            else:
                self._fault(entry, "is missing")
            return
        if _kind(status) != entry.kind:
            self._break(entry, path, f"is a {_kind(status)}, it was a {entry.kind}")
        elif entry.kind != "dir" and status.st_mtime_ns != entry.mtime_ns and status.st_mtime_ns in self._window:
            self.changed += 1
        else:
            self._compare_content(entry, path, status)

    def _require_place(self, entry: Entry, path: Path) -> None:
        """A manifest lists each entry once, after its directory, and nothing that is not below a root.

        Raises:
            ProbeFailedError: this one does not, and would lead us elsewhere.
        """
        known = path in self._roots or str(path.parent) in self._directories
        if str(path) in self._seen or ".." in path.parts or not known:
            raise ProbeFailedError(f"the manifest lists {entry.path} where or when it cannot be")

    def look_for_strangers(self, manifest_path: Path) -> None:
        """Anything below the roots that the manifest does not list came from somewhere else."""
        self._seen.add(str(manifest_path))
        appeared: set[str] = set()  # made during the capture, and so is everything in them
        for root in self._roots:
            for entry in below(root):  # nothing where a link stands, which is a fault already
                path = Path(entry.path)
                if entry.path in self._seen or _kind(entry.stat(follow_symlinks=False)) == "special file":
                    continue
                if self._moved(path.parent) or str(path.parent) in appeared:
                    appeared.add(str(path))
                else:
                    self.faults.append(f"{self._restored.source(path)} is there and was not captured")

    def _compare_content(self, entry: Entry, path: Path, status: os.stat_result) -> None:
        if entry.kind == "link":
            if os.readlink(path) != entry.digest:
                self._fault(entry, f"points to {os.readlink(path)}, it pointed to {entry.digest}")
            return
        mode = stat.S_IMODE(status.st_mode)
        if mode & self._modes != entry.mode & self._modes:
            self._fault(entry, f"has mode {mode:04o}, it had {entry.mode:04o}")
        if entry.kind == "file" and status.st_size != entry.size:
            self._fault(entry, f"has {status.st_size:,} bytes, it had {entry.size:,}")
        elif entry.kind == "file" and manifest.digest_of(path) != entry.digest:
            self._fault(entry, "has other bytes than were captured")

    def _moved(self, directory: Path) -> bool:
        """Whether entries of this directory came or went while it was captured."""
        while (before := self._directories.get(str(directory))) is not None:
            try:
                now = directory.lstat().st_mtime_ns
            except OSError:
                directory = directory.parent
            else:
                return now != before and now in self._window
        return False

    def _break(self, entry: Entry, path: Path, what: str) -> None:
        self._broken.add(str(path))
        self._fault(entry, what)

    def _fault(self, entry: Entry, what: str) -> None:
        self.faults.append(f"{entry.path} {what}")


def _kind(status: os.stat_result) -> str:
    if stat.S_ISREG(status.st_mode):
        return "file"
    if stat.S_ISDIR(status.st_mode):
        return "dir"
    return "link" if stat.S_ISLNK(status.st_mode) else "special file"


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * _SECOND_NS)
