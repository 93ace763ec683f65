"""`amcheck`: pg_amcheck finds nothing wrong in any table or index of a restored cluster.

It runs expressions of indexes, which may be functions of the database, as the owner of the table.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import ClassVar

from backup_orchestration.core.commands import run
from backup_orchestration.core.errors import ProbeFailedError, ToolMissingError
from backup_orchestration.core.postgres import POSTGRES, Server, databases
from backup_orchestration.core.tools import Requirement
from backup_orchestration.probes.base import Finding, NoOptions, ProbeKind, Restored

_FOUND = 2
_SHOWN = 3
_MOST_JOBS = 4
_SECONDS = 24 * 3600.0
# The extension is made in each database; an event trigger would run for it, and may refuse it.
_NO_EVENT_TRIGGERS = """
SELECT format('ALTER EVENT TRIGGER %I DISABLE', evtname) FROM pg_event_trigger WHERE evtenabled <> 'D'
\\gexec
"""


class AmcheckProbe(ProbeKind[NoOptions]):
    """See the module."""

    name: ClassVar[str] = "amcheck"
    sources: ClassVar[tuple[str, ...]] = ("postgres",)
    tools: ClassVar[tuple[Requirement, ...]] = (POSTGRES,)

    def check(self, restored: Restored, options: NoOptions) -> Finding:
        """See `ProbeKind`."""
        server = restored.running().having(default_transaction_read_only="off")
        if not server.rows("SELECT 1 AS here FROM pg_available_extensions() AS e WHERE e.name = 'amcheck'"):
            raise ToolMissingError(
                f"PostgreSQL {server.programs.major} here lacks the extension amcheck",
                remedy="install PostgreSQL's contrib package on this machine",
            )
        looked_at = databases(server)
        for database in looked_at:
            server.execute(_NO_EVENT_TRIGGERS, database)
        _check(server)
        return Finding(f"{len(looked_at)} database(s): every table and index as it should be")


def _check(server: Server) -> None:
    jobs = min(_MOST_JOBS, os.cpu_count() or 1)
    command = server.command(
        *("pg_amcheck", "--all", "--install-missing", "--heapallindexed", "--parent-check", f"--jobs={jobs}"),
        *("--maintenance-db", "postgres"),
    )
    done = run(replace(command, timeout=_SECONDS))
    if done.returncode == 0:
        return
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    said = "; ".join(lines[: _SHOWN * 2]) or done.reason
    if done.returncode == _FOUND:
        raise ProbeFailedError(f"damaged: {said}")
    raise ProbeFailedError(f"pg_amcheck could not look at all of it: {done.reason}")
