"""A dump of a database in a process lab: loaded by pg_restore into a cluster that was made for it.

A dump names roles and needs extensions, and holds neither. What there was is remembered in its canary, which is
loaded first; so a dump that restores only where its roles happen to exist is told from one that is damaged.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backup_orchestration.core import canary
from backup_orchestration.core.commands import Command, Completed, can, run
from backup_orchestration.core.errors import LabError, PostgresError, ProbeFailedError, ToolMissingError
from backup_orchestration.core.postgres import Programs, Server, conninfo, find_programs
from backup_orchestration.throwaway.postgres import Cluster, Started, blame, serving
from backup_orchestration.throwaway.process import ProcessLab

LOAD = "load"
_USER = "postgres"
_SECONDS = 24 * 3600.0
_MADE_BY = re.compile(r"Dumped by pg_dump version: (\d+)")
_NEWER = "unsupported version"


@dataclass(frozen=True)
class _Needs:
    """What a dump needs around it.

    Attributes:
        roles, extensions: names.
        encoding: of the database.
    """

    roles: Sequence[str]
    extensions: Sequence[str]
    encoding: str


@contextmanager
def loaded_dump(archive: Path, database: str, run_id: str, lab: ProcessLab) -> Iterator[Started]:
    """Load a dump into a cluster of its own, for the block.

    Args:
        archive: the dump, in pg_dump's custom format.
        database: that was dumped, and is made.
        run_id: of the backup.
        lab: where the cluster is made.

    Raises:
        ProbeFailedError: `load`: it is no dump, is damaged, or does not load whole.
        ToolMissingError: PostgreSQL of its version, or an extension, is not here.
        LabError: this machine cannot tell.
    """
    clock = time.monotonic()
    programs = _programs_for(archive)
    data = lab.root / "cluster"
    done = run(
        Command(
            [
                *(programs.path("initdb"), "--pgdata", str(data), "--username", _USER, "--auth=trust"),
                *("--encoding=UTF8", "--locale=C", "--no-sync"),
            ],
            _SECONDS,
            user=os.geteuid(),
        )
    )
    if done.returncode != 0:
        raise LabError(f"initdb cannot make a cluster in the lab: {done.reason}")
    with serving(Cluster(programs, data, lab.root, lab.sockets()), _USER) as server:
        writing = server.having(default_transaction_read_only="off")
        try:
            needs = _needs(_remembered(writing, archive, run_id), database)
            _prepare(writing, database, needs)
        except PostgresError as error:
            raise blame(error.message, LOAD) from error
        _load(writing, archive, database, "--exit-on-error", "--no-tablespaces", "--no-subscriptions")
        yield Started(server, can(cut_off=True), time.monotonic() - clock)


def _programs_for(archive: Path) -> Programs:
    """Programs of the version that made the dump, or newer ones: older ones cannot read it."""
    newest = find_programs()
    done = run(Command((newest.path("pg_restore"), "--list", str(archive)), _SECONDS))
    if done.returncode != 0 and _NEWER in done.stderr:
        raise ToolMissingError(
            f"{archive.name} was made by a newer pg_dump than PostgreSQL {newest.major}, which is the newest here",
            remedy="install PostgreSQL of the version that dumps",
        )
    made_by = _MADE_BY.search(done.stdout)
    if done.returncode != 0 or made_by is None:
        raise ProbeFailedError(f"{archive.name} is no dump that pg_restore can read: {_why(done)}", probe=LOAD)
    try:
        return find_programs(int(made_by[1]))
    except ToolMissingError:
        return newest


def _remembered(server: Server, archive: Path, run_id: str) -> Mapping[str, Any]:
    """The facts of the canary, which is loaded for it beside what is loaded afterwards."""
    server.execute("CREATE SCHEMA homelab")
    _load(server, archive, "postgres", "--no-owner", "--no-privileges", "--schema=homelab")
    try:
        return canary.read(server, "postgres", run_id)
    except ProbeFailedError as error:
        raise ProbeFailedError(error.message, probe=LOAD) from error
    finally:
        server.execute("DROP SCHEMA homelab CASCADE")


def _needs(facts: Mapping[str, Any], database: str) -> _Needs:
    """As the probe `sql` has remembered it.

    Raises:
        ProbeFailedError: it has not.
    """
    try:
        there = facts["sql"]["databases"][database]
        return _Needs(
            [str(name) for name in facts["sql"]["roles"]],
            [str(name) for name in there["extensions"]],
            str(there["encoding"]),
        )
    except (KeyError, TypeError) as error:
        raise ProbeFailedError("what was remembered with the dump cannot be read", probe=LOAD) from error


def _prepare(server: Server, database: str, needs: _Needs) -> None:
    available = {row["name"] for row in server.rows("SELECT name FROM pg_available_extensions()")}
    if missing := [name for name in needs.extensions if name not in available]:
        raise ToolMissingError(
            f"the dump needs the extension {missing[0]}, which PostgreSQL {server.programs.major} here lacks",
            remedy="install the extension's package on this machine",
        )
    names = ", ".join(f"({canary.literal(name)})" for name in needs.roles)
    if names:
        server.execute(
            f"SELECT format('CREATE ROLE %I', name) FROM (VALUES {names}) AS wanted (name)"  # noqa: S608 - literals
            " WHERE name NOT IN (SELECT rolname FROM pg_roles)\n\\gexec"
        )
    if database != "postgres":
        made = run(
            server.command(
                *("createdb", "--maintenance-db", "postgres", "--template=template0", "--locale=C"),
                *("--encoding", needs.encoding, "--", database),
            )
        )
        if made.returncode != 0:
            raise LabError(f"the database {database} cannot be made in the lab: {_why(made)}")


def _load(server: Server, archive: Path, database: str, *options: str) -> None:
    done = run(server.command("pg_restore", *options, "--dbname", conninfo(database), str(archive)))
    if done.returncode != 0:
        raise blame(f"pg_restore cannot load {archive.name}: {_why(done)}", LOAD)


def _why(done: Completed) -> str:
    """The first error, which names the cause."""
    errors = re.findall(r"error: (?:.*?ERROR:\s*)?(.+)", done.stderr)
    return errors[0] if errors else done.reason
