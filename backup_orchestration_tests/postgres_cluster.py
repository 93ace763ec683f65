"""A real PostgreSQL cluster on a Unix socket, made once and shared, and what tests do with it."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from backup_orchestration.core.commands import Command, check, run
from backup_orchestration.core.postgres import Programs, Server, find_programs

SETTINGS = """\
listen_addresses = ''
unix_socket_directories = '{socket}'
fsync = off
shared_buffers = '16MB'
max_wal_senders = 4
archive_mode = on
archive_command = '/bin/false'
log_min_messages = warning
"""


@dataclass(frozen=True)
class RunningCluster:
    """One server; `sql` asks it."""

    data: Path
    socket: Path
    programs: Programs
    owner: int = field(default_factory=os.geteuid)

    @property
    def server(self) -> Server:
        return Server(self.programs, self.socket, 5432, "postgres", self.owner)

    @property
    def source(self) -> dict[str, object]:
        """Fields of the policy's source."""
        return {"data": self.data, "socket": self.socket}

    def sql(self, statements: str, database: str = "postgres") -> None:
        self.server.execute(statements, database)

    def sql_alone(self, statement: str) -> None:
        """A statement that cannot stand in a transaction."""
        check(self._psql(statement))

    def one(self, query: str, database: str = "postgres"):
        """The one value of a query."""
        (row,) = self.server.rows(query, database)
        (value,) = row.values()
        return value

    def now(self) -> datetime:
        """The server's clock."""
        return datetime.fromisoformat(self.one("SELECT clock_timestamp() AT TIME ZONE 'UTC'")).replace(tzinfo=UTC)

    def archive_with(self, settings: dict[str, str]) -> None:
        """Send the WAL where these settings say."""
        command = settings["archive_command"].replace("'", "''")
        self.sql_alone(f"ALTER SYSTEM SET archive_command = '{command}'")
        self.sql("SELECT pg_reload_conf()")
        wait(lambda: self.one("SELECT current_setting('archive_command')") == settings["archive_command"])

    def switch(self) -> None:
        """Archive what was written so far: the segment is closed and in the archive when this returns.

        A segment without a word in it would not be closed.
        """
        self.sql("SELECT pg_logical_emit_message(true, 'test', 'switch')")
        closed = self.one("SELECT pg_walfile_name(pg_switch_wal())")
        wait(lambda: (self.one("SELECT last_archived_wal FROM pg_stat_archiver") or "") >= closed)

    def pg_ctl(self, *arguments: str) -> None:
        check(self._command("pg_ctl", "--pgdata", str(self.data), "--wait", *arguments))

    def _psql(self, sql: str) -> Command:
        return self._command("psql", "-XAtq", "-h", str(self.socket), "-U", "postgres", "-c", sql, "postgres")

    def _command(self, program: str, *arguments: str) -> Command:
        return Command((self.programs.path(program), *arguments), 120, user=self.owner)


@contextmanager
def running_cluster(root: Path, owner: int | None = None) -> Iterator[RunningCluster]:
    """Make a cluster below a directory and run it for the block; as somebody else, where we are root."""
    socket = short_directory(os.geteuid() if owner is None else owner)
    cluster = RunningCluster(root / "production", socket, find_programs(), socket.stat().st_uid)
    try:
        initdb = ("initdb", "--pgdata", str(cluster.data), "--username", "postgres", "--auth", "trust")
        check(cluster._command(*initdb, "--no-sync", "--data-checksums", "--encoding", "UTF8", "--locale", "C"))
        (cluster.data / "postgresql.conf").write_text(SETTINGS.format(socket=socket))
        cluster.pg_ctl("start", "--log", str(socket / "server.log"))
        try:
            yield cluster
        finally:
            cluster.pg_ctl("stop", "--mode", "immediate")
    finally:
        shutil.rmtree(socket)


@contextmanager
def recovered(root: Path) -> Iterator[RunningCluster]:
    """Run a server on what a restore has left, for the block; it has ended its recovery."""
    owner = (root / "pgdata").stat().st_uid
    socket = short_directory(owner)
    cluster = RunningCluster(root / "pgdata", socket, find_programs(), owner)
    config = root / "lab.conf"
    config.write_text(SETTINGS.format(socket=socket))
    hba = root / "hba.conf"
    hba.write_text("local all all trust\n")
    options = f"-c config_file='{config}' -c hba_file='{hba}' -c archive_mode=off"
    try:
        try:
            cluster.pg_ctl("start", "--log", str(socket / "server.log"), "--options", options)
            wait(lambda: not cluster.one("SELECT pg_is_in_recovery()"))
        except BaseException as error:
            error.add_note((socket / "server.log").read_text())
            raise
        yield cluster
    finally:
        run(cluster._command("pg_ctl", "--pgdata", str(cluster.data), "--wait", "stop", "--mode", "immediate"))
        shutil.rmtree(socket)


def short_directory(owner: int) -> Path:
    """For a socket, whose path has room for 107 characters."""
    directory = Path(tempfile.mkdtemp(prefix="pg-"))
    if owner != os.geteuid():
        os.chown(directory, owner, -1)
    return directory


def wait(condition, seconds: float = 60) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.05)
