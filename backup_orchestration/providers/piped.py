"""Sources that a tool stores as they are printed: what prints them, and as what file.

Shared by every provider that can store what a command prints; it runs `core/dump.py` between itself and the command.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from backup_orchestration.core import canary, dump
from backup_orchestration.core.errors import PostgresError
from backup_orchestration.core.postgres import Programs, Server, conninfo, find_programs, server_of
from backup_orchestration.core.sources import Dump, PgDump
from backup_orchestration.core.tools import dotted
from backup_orchestration.providers.base import BackupSpec


@dataclass(frozen=True)
class Piped:
    """What a tool is to start.

    Attributes:
        command: argument list; its output is the data, and an exit code other than 0 a failure.
        filename: name that the output is stored under.
    """

    command: tuple[str, ...]
    filename: str


def piped(source: Dump | PgDump, spec: BackupSpec) -> Piped:
    """Make a source ready to be printed.

    Raises:
        PostgresError: its server does not answer, is newer than our pg_dump, or does not take the canary.
        SourceError: its password file cannot be used.
        ToolMissingError: there is no pg_dump.
    """
    command = _pg_dump(source, spec) if isinstance(source, PgDump) else source.command
    return Piped((sys.executable, "-I", str(Path(dump.__file__)), *command), source.filename)


def _pg_dump(source: PgDump, spec: BackupSpec) -> tuple[str, ...]:
    server = server_of(source)
    programs = _new_enough(server, source)
    canary.write(server, source.database, spec.run_id, spec.facts())
    return (
        *(programs.path("pg_dump"), "--format=custom", "--no-password"),
        *("--host", str(source.host), "--port", str(source.port), "--username", source.user),
        *source.options,
        *("--dbname", conninfo(source.database, source.passfile)),
    )


def _new_enough(server: Server, source: PgDump) -> Programs:
    """Our newest programs, which must be of the server's major version or of a newer one.

    Raises:
        PostgresError: ours are older: pg_dump would refuse, or leave out what it does not know.
    """
    (row,) = server.rows("SELECT current_setting('server_version_num')::int AS number", source.database)
    major, ours = row["number"] // 10000, find_programs()
    if ours.major < major:
        raise PostgresError(
            f"{source.database} is served by PostgreSQL {major}.{row['number'] % 10000}, and pg_dump here is "
            f"{dotted(ours.version)}: it must not be older",
            remedy=f"install the client programs of PostgreSQL {major} or newer",
        )
    return ours
