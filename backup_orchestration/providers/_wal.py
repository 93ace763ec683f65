"""The WAL archive of a stanza: fetching what a recovery needs, and which moments it covers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backup_orchestration.core.commands import Command, check, run
from backup_orchestration.core.errors import RestoreFailedError, ToolLiedError
from backup_orchestration.core.postgres import Programs
from backup_orchestration.providers._pgbackrest_cli import PgBackRestCli

# `000000010000000000000003-<sha1>.zst`; a segment that was cut off by a promotion is `....partial-<sha1>`.
_ARCHIVED = re.compile(r"(?P<name>[0-9A-F]{24})-(?P<sha1>[0-9a-f]{40})(?:\.[a-z0-9]+)?")
# "... desc: COMMIT 2026-11-25 02:44:30.593123 UTC; ..."
_ENDED = re.compile(r"desc: (?:COMMIT|ABORT)(?:_PREPARED \d+:)? (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) UTC")
_LISTING_SECONDS = 600.0


@dataclass(frozen=True)
class Archive:
    """The archive of one cluster.

    Attributes:
        cli: of its stanza; the cluster of its `pg1-path` must be the one that wrote the archive.
        directory: of the archive in the repository, e.g. `archive/shop-db/15-1`.
        segment_bytes: size of a segment; says how many there are to a folder.
    """

    cli: PgBackRestCli
    directory: str
    segment_bytes: int

    def fetch(self, first: str, into: Path, enough: Callable[[Path], bool]) -> int:
        """Fetch segments, each held against its checksum, until there are enough; returns their bytes.

        pgBackRest writes a segment's SHA-1 into its name and does not look at it when it gives the segment back.

        Args:
            first: name of the first.
            into: existing directory.
            enough: asked after each whether it is the last.

        Raises:
            RestoreFailedError: one is missing or damaged.
        """
        total = 0
        for name, sha1 in self._from(first):
            file = into / name
            if sha1 is None or not self.cli.segment(name, file):
                raise RestoreFailedError(f"WAL segment {name}, which the snapshot needs, is not in the archive")
            data = file.read_bytes()
            if hashlib.sha1(data, usedforsecurity=False).hexdigest() != sha1:
                raise RestoreFailedError(f"WAL segment {name} in the archive does not match its checksum")
            total += len(data)
            if enough(file):
                break
        return total

    def covered_until(self, first: str, programs: Programs, scratch: Path) -> datetime | None:
        """The end of the last transaction that recovery from a segment can reach; None when there is none.

        Recovery to a moment needs a transaction that ended after it. It stops where a segment is missing.

        Args:
            first: segment to begin at.
            programs: whose `pg_waldump` reads segments.
            scratch: existing directory; holds one segment at a time.
        """
        names = []
        for name, sha1 in self._from(first):
            if sha1 is None:
                break
            names.append(name)
        for name in reversed(names):
            file = scratch / name
            try:
                if self.cli.segment(name, file) and (ended := last_end(programs, file)):
                    return ended
            finally:
                file.unlink(missing_ok=True)
        return None

    def _from(self, first: str) -> Iterator[tuple[str, str | None]]:
        """Names from the first on without end, each with its checksum, or None where the archive has not got it."""
        per_folder = (1 << 32) // self.segment_bytes
        timeline, folder, number = first[:8], int(first[8:16], 16), int(first[16:], 16)
        while True:
            sums = self._sums(f"{timeline}{folder:08X}")
            for index in range(number, per_folder):
                name = f"{timeline}{folder:08X}{index:08X}"
                yield name, sums.get(name)
            folder, number = folder + 1, 0

    def _sums(self, folder: str) -> dict[str, str]:
        found = map(_ARCHIVED.fullmatch, self.cli.listing(f"{self.directory}/{folder}"))
        return {match["name"]: match["sha1"] for match in found if match}


def segment_bytes(programs: Programs, data: Path, user: int) -> int:
    """Size of a WAL segment of the cluster in a data directory.

    Raises:
        CommandFailedError: its pg_control cannot be read.
    """
    told = check(Command((programs.path("pg_controldata"), "--pgdata", str(data)), _LISTING_SECONDS, user=user)).stdout
    match = re.search(r"^Bytes per WAL segment:\s+(\d+)$", told, re.MULTILINE)
    if match is None:
        raise ToolLiedError("pg_controldata ended with exit code 0 and does not say the size of a WAL segment")
    return int(match[1])


def last_end(programs: Programs, file: Path) -> datetime | None:
    """When the last transaction in a segment ended. pg_waldump fails at the end of every segment that is not full."""
    ended: list[str] = []

    def look(line: str) -> None:
        if match := _ENDED.search(line):
            ended[:] = [max([match[1], *ended])]

    run(Command((programs.path("pg_waldump"), "--rmgr=Transaction", str(file)), _LISTING_SECONDS), on_stdout=look)
    return datetime.fromisoformat(ended[0]).replace(tzinfo=UTC) if ended else None
