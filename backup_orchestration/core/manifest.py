"""The manifest: what a capture saw, written into the snapshot itself and held against what comes back.

JSON lines: a header, one line for each entry, a footer with the totals (a manifest that was cut off has none).
Only the repository's password can forge it, it is encrypted with the data, and it goes when the snapshot goes.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from backup_orchestration.core.errors import ProbeFailedError, SourceError

FILENAME = "homelab-manifest.jsonl"
_FORMAT = "homelab-manifest-1"
_CHUNK = 1 << 20
# The header holds what probes remember: two million git references.
_LONGEST_LINE = 256 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, directory or symbolic link.

    Attributes:
        path: absolute path at the source.
        kind: `file`, `dir` or `link`.
        mode: permission bits.
        size: bytes of a file, else 0.
        mtime_ns: modification time when it was hashed.
        digest: SHA-256 of a file's bytes, target of a link, empty for a directory.
    """

    path: str
    kind: str
    mode: int
    size: int = 0
    mtime_ns: int = 0
    digest: str = ""


@dataclass(frozen=True)
class Header:
    """What the manifest belongs to.

    Attributes:
        run_id: the snapshot carries the same in its tags.
        started_ns: when the capture began; a file may differ if it was modified after that.
        rows: rows of each table, by database path, counted in the transaction that was captured.
        facts: what each probe wanted remembered of the source, by the probe's name; JSON.
    """

    target: str
    run_id: str
    roots: tuple[str, ...]
    started_ns: int
    rows: dict[str, dict[str, int]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Totals:
    """What was counted."""

    files: int = 0
    directories: int = 0
    links: int = 0
    bytes: int = 0
    finished_ns: int = 0


def write(out: IO[str], header: Header, entries: Iterator[Entry], clock_ns: Callable[[], int]) -> Totals:
    """Write a manifest; returns the totals it ends with."""
    _line(out, {"format": _FORMAT, **asdict(header)})
    counts = {"file": 0, "dir": 0, "link": 0}
    size = 0
    for entry in entries:
        counts[entry.kind] += 1
        size += entry.size
        _line(out, asdict(entry))
    totals = Totals(counts["file"], counts["dir"], counts["link"], size, clock_ns())
    _line(out, {"totals": asdict(totals)})
    return totals


def read(path: Path) -> tuple[Header, Iterator[Entry], Callable[[], Totals]]:
    """Read a manifest as a stream; the totals are known once the entries have been consumed.

    Raises:
        ProbeFailedError: it is missing, cut off, or not a manifest.
    """
    lines = _parsed(path)
    first = next(lines, None)
    if not isinstance(first, dict) or first.pop("format", None) != _FORMAT:
        raise ProbeFailedError(f"{path.name} is not a manifest of this version")
    try:
        header = Header(**{**first, "roots": tuple(first["roots"])})
    except (KeyError, TypeError) as error:
        raise ProbeFailedError(f"{path.name} is not a manifest of this version") from error
    totals: list[Totals] = []

    def entries() -> Iterator[Entry]:
        for line in lines:
            if "totals" in line:
                totals.append(Totals(**line["totals"]))
                return
            yield Entry(**line)

    def counted() -> Totals:
        if not totals:
            raise ProbeFailedError(f"{path.name} is cut off")
        return totals[0]

    return header, entries(), counted


def scan(root: Path, excluded: Callable[[PurePosixPath], bool]) -> Iterator[Entry]:
    """Every entry of a tree with its hash, parents before children; sockets, pipes and devices are left out.

    Raises:
        SourceError: something cannot be read; names it. What vanishes during the walk is left out.
    """
    try:
        status = root.lstat()
    except FileNotFoundError as error:
        raise SourceError(f"the source {root} does not exist", remedy="mount it, or correct the policy") from error
    except OSError as error:
        raise _unreadable(root, error) from error
    if stat.S_ISLNK(status.st_mode):
        raise SourceError(
            f"the source {root} is a symbolic link; only the link would be saved",
            remedy=f"name {root.resolve()} in the policy",
        )
    yield from _walk(root, status, excluded)


def describe(path: Path, status: os.stat_result) -> Entry | None:
    """One entry with its hash; None for what a manifest leaves out.

    Raises:
        OSError: it cannot be read.
    """
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISREG(status.st_mode):
        return Entry(str(path), "file", mode, status.st_size, status.st_mtime_ns, digest_of(path))
    if stat.S_ISDIR(status.st_mode):
        return Entry(str(path), "dir", mode, 0, status.st_mtime_ns)
    if stat.S_ISLNK(status.st_mode):
        return Entry(str(path), "link", mode, 0, status.st_mtime_ns, os.readlink(path))
    return None


def digest_of(path: Path) -> str:
    """SHA-256 of a file; a link put in its place meanwhile is not followed."""
    digest = hashlib.sha256()
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(handle, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _walk(path: Path, status: os.stat_result, excluded: Callable[[PurePosixPath], bool]) -> Iterator[Entry]:
    pending = [(path, status)]
    while pending:
        path, status = pending.pop()
        try:
            entry = describe(path, status)
            if entry is None:
                continue
            yield entry
            if entry.kind == "dir":
                pending += reversed(_children(path, excluded))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _unreadable(path, error) from error


def _children(path: Path, excluded: Callable[[PurePosixPath], bool]) -> list[tuple[Path, os.stat_result]]:
    children = []
    with os.scandir(path) as listing:
        for item in sorted(listing, key=lambda entry: entry.name):
            child = path / item.name
            if not excluded(PurePosixPath(child)):
                try:
                    children.append((child, item.stat(follow_symlinks=False)))
                except FileNotFoundError:
                    continue
    return children


def _unreadable(path: Path, error: OSError) -> SourceError:
    return SourceError(
        f"the source {path} cannot be read: {error.strerror}",
        remedy="run the backup as a user who may read it, or exclude it in the policy",
    )


def _line(out: IO[str], value: dict[str, Any]) -> None:
    # ASCII, so that file names that are not UTF-8 (surrogates) survive the round trip.
    out.write(json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n")


def _parsed(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            while text := file.readline(_LONGEST_LINE):
                value = json.loads(text) if len(text) < _LONGEST_LINE else None
                if not isinstance(value, dict):
                    raise ProbeFailedError(f"{path.name} holds a line that is none of a manifest")
                yield value
    except FileNotFoundError as error:
        raise ProbeFailedError("nothing was restored: the manifest is not there") from error
    except (OSError, ValueError) as error:
        raise ProbeFailedError(f"{path.name} cannot be read") from error
