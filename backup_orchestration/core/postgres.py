"""PostgreSQL on this machine: its programs, whom they run as, and a server that answers.

A server is asked through `psql`, as the owner of its data directory: that works with peer authentication, for root,
and inside a container alike. Postgres refuses to run as root; what root owns is run in a user name space in which
root has another number (unshare(1)), see `core.commands`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backup_orchestration.core import tools
from backup_orchestration.core.commands import Command, Completed, run
from backup_orchestration.core.errors import PostgresError, ToolMissingError
from backup_orchestration.core.tools import Requirement, Version

# Where a restore puts a cluster, below the directory it is given.
PGDATA = "pgdata"
TABLESPACES = "tablespaces"

OLDEST_MAJOR = 13
POSTGRES = Requirement(
    "postgres",
    (OLDEST_MAJOR,),
    version_pattern=r"(\d+\.\d+)",
    beside=(
        *("initdb", "pg_ctl", "pg_checksums", "pg_controldata"),
        *("psql", "pg_dump", "pg_restore", "pg_basebackup"),  # Debian's client package, which may be there alone
    ),
    places=("usr/lib/postgresql/*/bin",),  # Debian's
)
_SECONDS = 3600.0


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
    """A server that runs on this machine.

    Attributes:
        programs: of its major version, or of a newer one for asking only.
        socket: directory of its Unix socket.
        port: that names the socket.
        user: role to connect as.
        owner: user id that its data directory belongs to; who asks must be that user or root.
    """

    programs: Programs
    socket: Path
    port: int
    user: str
    owner: int

    def rows(self, query: str, database: str = "postgres") -> Sequence[Mapping[str, Any]]:
        """Rows of a SELECT, each as a mapping by column, JSON values.

        Raises:
            PostgresError: the server refuses the query or does not answer.
        """
        select = f"SELECT row_to_json(homelab_rows) FROM ({query}) AS homelab_rows"  # noqa: S608
        done = self._psql(["--command", select], database)
        return [json.loads(line) for line in done.stdout.splitlines() if line]

    def execute(self, statements: str, database: str = "postgres") -> None:
        """Run statements of any length, in one transaction.

        Raises:
            PostgresError: one of them failed; none has taken effect.
        """
        self._psql(["--single-transaction", "--file", "-"], database, statements)

    def _psql(self, what: Sequence[str], database: str, stdin: str = "") -> Completed:
        argv = [
            *(self.programs.path("psql"), "--no-psqlrc", "--no-align", "--tuples-only", "--quiet", "--no-password"),
            *("--set", "ON_ERROR_STOP=1", "--host", str(self.socket), "--port", str(self.port)),
            *("--username", self.user, "--dbname", database, *what),
        ]
        done = run(Command(argv, _SECONDS, {"PGCONNECT_TIMEOUT": "10"}, stdin=stdin, user=self.owner))
        if done.returncode != 0:
            raise PostgresError(f"PostgreSQL at {self.socket}, port {self.port}, database {database}: {_why(done)}")
        return done


def _why(done: Completed) -> str:
    """The first error of psql, which names the cause; what follows repeats it."""
    errors = re.findall(r"(?:ERROR|FATAL|error):\s*(.+)", done.stderr)
    return errors[0] if errors else done.reason
