"""PostgreSQL on this machine: its programs, whom they run as, and a server that answers.

A server is asked through `psql`, as the owner of its data directory: that works with peer authentication, for root,
and inside a container alike. Postgres refuses to run as root; what root owns is run in a user name space in which
root has another number (unshare(1)), see `core.commands`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from backup_orchestration.core import tools
from backup_orchestration.core.commands import Command, Completed, run
from backup_orchestration.core.errors import PostgresError, SourceError, ToolMissingError
from backup_orchestration.core.sources import PgDump, Postgres
from backup_orchestration.core.tools import Requirement, Version

# Where a restore puts a cluster, below the directory it is given.
PGDATA = "pgdata"
TABLESPACES = "tablespaces"

OLDEST_MAJOR = 14  # the oldest with pg_amcheck
POSTGRES = Requirement(
    "postgres",
    (OLDEST_MAJOR,),
    version_pattern=r"(\d+\.\d+)",
    beside=(  # the second line is Debian's client package, which may be there alone
        *("initdb", "pg_ctl", "pg_checksums", "pg_controldata"),
        *("psql", "pg_dump", "pg_restore", "pg_basebackup", "pg_amcheck"),
    ),
    places=("usr/lib/postgresql/*/bin",),  # Debian's
)
_SECONDS = 6 * 3600.0  # every row of a large table is counted

# For sessions that only count and compare: the same text whatever the settings of database and role, every row or an
# error, no time limits, and names looked up in the system catalogue alone.
NEUTRAL = {
    "search_path": "pg_catalog",
    "standard_conforming_strings": "on",
    "row_security": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
}


@dataclass(frozen=True)
class Programs:
    """The programs of one version: `postgres`, `initdb`, `pg_dump` and the others lie in one directory."""

    directory: Path
    version: Version

    @property
    def major(self) -> int:
        """E.g. 17."""
        return self.version[0]

    def path(self, name: str) -> str:
        """Path of a program, as an argument list wants it."""
        return str(self.directory / name)


def find_programs(major: int | None = None, environment: Mapping[str, str] | None = None) -> Programs:
    """Programs of this major version, or of the newest that is found.

    Found by the one rule of `core.tools`.

    Raises:
        ToolMissingError: none is there, or none of this version; says what was seen.
    """
    # A link on PATH may stand alone: the others lie beside what it points to.
    found = [
        Programs(tool.path.resolve().parent, tool.version)
        for tool in tools.all_of(POSTGRES, environment)
        if major is None or tool.version[0] == major
    ]
    if not found:
        wanted = f"PostgreSQL {major}" if major else f"PostgreSQL {OLDEST_MAJOR} or newer"
        raise ToolMissingError(
            f"the programs of {wanted} are not here", remedy="run `homelab backup doctor` to see what installs them"
        )
    return max(found, key=lambda programs: programs.version)


def major_of(data: Path) -> int:
    """Major version of the cluster in a data directory.

    Raises:
        PostgresError: it is no data directory.
    """
    try:
        return int((data / "PG_VERSION").read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise PostgresError(f"{data} is no data directory of PostgreSQL: it has no PG_VERSION") from error


@dataclass(frozen=True)
class Server:
    """A server that can be asked.

    Attributes:
        programs: of its major version, or of a newer one for asking only.
        socket: directory of its Unix socket, or the name of its host.
        port: that names the socket.
        user: role to connect as.
        owner: user id that its data directory belongs to; who asks must be that user or root.
        passfile: libpq's password file, where a password is needed.
        settings: of every session, above those of database and role.
    """

    programs: Programs
    socket: Path | str
    port: int
    user: str
    owner: int
    passfile: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    def having(self, **settings: str) -> Server:
        """The same server, asked in sessions with further settings."""
        return replace(self, settings={**self.settings, **settings})

    def rows(self, query: str, database: str = "postgres") -> Sequence[Mapping[str, Any]]:
        """Rows of a SELECT, each as a mapping by column, JSON values.

        Raises:
            PostgresError: the server refuses the query or does not answer.
        """
        select = f"SELECT row_to_json(homelab_rows) FROM ({query}) AS homelab_rows"  # noqa: S608
        done = self._psql(["--command", select], database)
        return [json.loads(line) for line in done.stdout.splitlines() if line]

    def execute(self, statements: str, database: str = "postgres") -> Sequence[str]:
        """Run statements of any length, in one transaction; returns the lines that they print.

        It is a script of psql: a line that starts with a backslash is psql's own.

        Raises:
            PostgresError: one of them failed; none has taken effect.
        """
        return self._psql(["--single-transaction", "--file", "-"], database, statements).stdout.splitlines()

    def command(self, program: str, *arguments: str, stdin: str = "") -> Command:
        """A program of PostgreSQL's, to be run on this server."""
        env = {"PGCONNECT_TIMEOUT": "10", "PGCLIENTENCODING": "UTF8"}
        if self.settings:
            env["PGOPTIONS"] = " ".join(f"-c {name}={_escaped(value)}" for name, value in self.settings.items())
        if self.passfile:
            env["PGPASSFILE"] = str(self.passfile)
        argv = [
            *(self.programs.path(program), "--host", str(self.socket), "--port", str(self.port)),
            *("--username", self.user, "--no-password", *arguments),
        ]
        # Of PostgreSQL's programs only those that touch its files refuse root.
        return Command(argv, _SECONDS, env, stdin=stdin, user=self.owner or None)

    def _psql(self, what: Sequence[str], database: str, stdin: str = "") -> Completed:
        quiet = ("--no-psqlrc", "--no-align", "--tuples-only", "--quiet", "--set", "ON_ERROR_STOP=1")
        done = run(self.command("psql", *quiet, "--dbname", conninfo(database), *what, stdin=stdin))
        if done.returncode != 0:
            raise PostgresError(f"PostgreSQL at {self.socket}, port {self.port}, database {database}: {_why(done)}")
        return done


def databases(server: Server) -> Sequence[str]:
    """Every database that sessions may enter, templates left out.

    Raises:
        PostgresError: it does not answer.
    """
    found = server.rows("SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname")
    return [row["datname"] for row in found]


def server_of(source: Postgres | PgDump) -> Server:
    """The live server of a source; it is not asked anything yet.

    Raises:
        ToolMissingError: no program to ask it with.
        SourceError: its data directory or its password file cannot be used.
    """
    programs = find_programs()
    if isinstance(source, PgDump):
        _check_passfile(source.passfile)
        return Server(programs, source.host, source.port, source.user, os.geteuid(), source.passfile)
    try:
        owner = source.data.stat().st_uid
    except OSError as error:
        raise SourceError(
            f"the source {source.data} cannot be reached: {error.strerror}", remedy="mount it, or correct the policy"
        ) from error
    return Server(programs, source.socket, source.port, source.user, owner)


def conninfo(database: str, passfile: Path | None = None) -> str:
    """A database as libpq's connection string: a bare name with `=` in it would name another server."""
    values = {"dbname": database, **({"passfile": str(passfile)} if passfile else {})}
    quoted = {key: re.sub(r"(['\\])", r"\\\1", value) for key, value in values.items()}
    return " ".join(f"{key}='{value}'" for key, value in quoted.items())


def _check_passfile(path: Path | None) -> None:
    """libpq passes over one that others may read, and one that is not there, and then asks for a password."""
    if path is None:
        return
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise SourceError(
            f"the password file {path} cannot be read: {error.strerror}", remedy="make it, with mode 0600"
        ) from error
    if mode & 0o077:
        raise SourceError(f"the password file {path} can be read by others", remedy=f"run: chmod 600 {path}")


def _escaped(value: str) -> str:
    """As PGOPTIONS wants a value: blanks and backslashes with a backslash before them."""
    return re.sub(r"([\\\s])", r"\\\1", value)


def _why(done: Completed) -> str:
    """The first error of psql, which names the cause; what follows repeats it."""
    errors = re.findall(r"(?:ERROR|FATAL):\s*(.+)", done.stderr) or re.findall(r"error:\s*(.+)", done.stderr)
    return errors[0] if errors else done.reason
