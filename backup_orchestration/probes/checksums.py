"""`checksums`: every page of a restored cluster has the checksum it was written with; looked at when it was stopped."""

from __future__ import annotations

import re
from typing import ClassVar

from backup_orchestration.core.commands import Command, run
from backup_orchestration.core.errors import ProbeFailedError
from backup_orchestration.core.postgres import PGDATA, POSTGRES, find_programs, major_of
from backup_orchestration.core.tools import Requirement
from backup_orchestration.probes.base import Finding, NoOptions, ProbeKind, Restored

_SECONDS = 6 * 3600.0
_SHOWN = 3
_DISABLED = "data checksums are not enabled"


class ChecksumsProbe(ProbeKind[NoOptions]):
    """See the module."""

    name: ClassVar[str] = "checksums"
    sources: ClassVar[tuple[str, ...]] = ("postgres",)
    tools: ClassVar[tuple[Requirement, ...]] = (POSTGRES,)
    after_stop: ClassVar[bool] = True

    def check(self, restored: Restored, options: NoOptions) -> Finding:
        """See `ProbeKind`."""
        data = restored.root / PGDATA
        programs = find_programs(major_of(data))
        done = run(
            Command((programs.path("pg_checksums"), "--check", "-D", str(data)), _SECONDS, user=data.stat().st_uid)
        )
        if _DISABLED in done.stderr:
            return Finding("the cluster was made without checksums: nothing to look at")
        failed = re.findall(r'checksum verification failed in file "[^"]*?/pgdata/([^"]+)", block (\d+)', done.stderr)
        if failed:
            places = ", ".join(f"block {block} of {file}" for file, block in failed[:_SHOWN])
            more = f" and {len(failed) - _SHOWN:,} more" if len(failed) > _SHOWN else ""
            raise ProbeFailedError(f"wrong checksum: {places}{more}")
        blocks = re.search(r"Blocks scanned:\s*(\d+)", done.stdout)
        if done.returncode != 0 or not blocks:
            raise ProbeFailedError(f"pg_checksums could not look at all of it: {done.reason}")
        return Finding(f"{int(blocks[1]):,} pages, every checksum right", {"pages": int(blocks[1])})
