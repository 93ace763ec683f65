"""The PostgreSQL cluster that is backed up: reached, examined, and given the row that a restore must bring back."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backup_orchestration.core import canary
from backup_orchestration.core.errors import SourceError
from backup_orchestration.core.postgres import Server, find_programs, major_of, server_of
from backup_orchestration.core.sources import Postgres

_EXAMINE = """
SELECT current_setting('data_directory') AS data, (pg_control_system()).system_identifier::text AS system_id,
       pg_is_in_recovery() AS standby, current_setting('archive_mode') AS archive_mode,
       current_setting('archive_command') AS archive_command,
       current_setting('archive_library', true) AS archive_library,
       (SELECT sum(pg_database_size(oid)) FROM pg_database WHERE datallowconn) AS bytes
"""

_ARCHIVER = """
SELECT archived_count, failed_count, last_failed_wal, last_archived_wal,
       extract(epoch FROM clock_timestamp() - last_archived_time)::float AS age,
       extract(epoch FROM last_archived_time - last_failed_time)::float AS healed,
       coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) AS failing
FROM pg_stat_archiver
"""


@dataclass(frozen=True)
class Cluster:
    """What was found.

    Attributes:
        system_id: that initdb gave it.
        bytes: size of its databases.
    """

    system_id: str
    bytes: int


def reach(source: Postgres) -> Server:
    """The server of a policy, with the programs of its very version; nothing is asked of it yet.

    Raises:
        SourceError: the data directory is not there, or we are not who may use it.
        PostgresError: it is no data directory.
        ToolMissingError: PostgreSQL's programs of that version are not here.
    """
    server = server_of(source)
    if os.geteuid() not in (0, server.owner):
        raise SourceError(
            f"the data directory {source.data} belongs to user {server.owner}, and this is user {os.geteuid()}",
            remedy=f"run homelab as user {server.owner}, or as root",
        )
    return replace(server, programs=find_programs(major_of(source.data)))


def examine(server: Server, source: Postgres, archive: Mapping[str, str]) -> Cluster:
    """See whether the server is the policy's and archives its WAL with us.

    Args:
        archive: what its settings should be, see `archive_settings`.

    Raises:
        SourceError: it is another cluster, a standby, or does not archive as it should; says what to write where.
        PostgresError: it does not answer.
    """
    (found,) = server.rows(_EXAMINE)
    if Path(found["data"]).resolve() != source.data.resolve():
        raise SourceError(
            f"the server at {source.socket}, port {source.port}, serves {found['data']}, not {source.data}",
            remedy="correct the policy's `data`, `socket` or `port`",
        )
    if found["standby"]:
        raise SourceError(f"the server of {source.data} is a standby", remedy="name the primary in the policy")
    if not _archives(found, archive["archive_command"]):
        raise SourceError(
            f"{source.data} does not archive its WAL with this installation: archive_mode is "
            f"{found['archive_mode']!r}, archive_command is {found['archive_command']!r}",
            remedy=f"write into postgresql.conf and restart the server: {' and '.join(lines(archive))}",
        )
    return Cluster(found["system_id"], int(found["bytes"]))


def archive_settings(program: Path, config: Path, stanza: str) -> Mapping[str, str]:
    """What the server's settings should be: name and value.

    `archive_command` goes through a shell, and `%` starts a placeholder in it.
    """
    words = (str(program), f"--config={config}", f"--stanza={stanza}", "archive-push")
    command = " ".join(shlex.quote(word).replace("%", "%%") for word in words)
    return {"archive_mode": "on", "archive_command": f"{command} %p"}


def lines(settings: Mapping[str, str]) -> list[str]:
    """Settings as they stand in postgresql.conf."""
    return ["{} = '{}'".format(name, value.replace("'", "''")) for name, value in settings.items()]


def write_canary(server: Server, database: str, run_id: str, facts: Mapping[str, Any]) -> int:
    """Write what the probes want remembered into the cluster, see `core.canary`, and see it flushed.

    Returns:
        A position in the WAL behind the row's commit: a backup that starts there or later holds the row.

    Raises:
        PostgresError: the server refuses it, or does not give it back.
    """
    canary.write(server, database, run_id, facts)
    (found,) = server.rows("SELECT pg_current_wal_flush_lsn()::text AS flushed")
    return position(found["flushed"])


def position(lsn: str) -> int:
    """`1/A000028` as a number."""
    high, _, low = lsn.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def archiver_health(server: Server) -> str:
    """How WAL archiving does, in a line for people.

    Raises:
        PostgresError: the server does not answer.
    """
    (found,) = server.rows(_ARCHIVER)
    last = f"last segment {_span(found['age'])} ago" if found["age"] is not None else "no segment yet"
    attempts = f"{found['failed_count']:,} failed attempts"
    if found["failing"]:
        return f"WAL archiving FAILS at {found['last_failed_wal']}: {attempts}, {last}"
    before = f", the last of them {_span(found['healed'])} before it" if found["healed"] is not None else ""
    return f"WAL archiving: {last}, {attempts}{before}"


def _archives(found: Mapping[str, Any], wanted: str) -> bool:
    """Whether the command pushes with our configuration to our stanza; another path of the program is as good."""
    if found["archive_mode"] not in ("on", "always") or found["archive_library"]:
        return False
    try:
        words = shlex.split(found["archive_command"])
    except ValueError:
        return False
    return set(shlex.split(wanted)[1:]) <= set(words)


def _span(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"
