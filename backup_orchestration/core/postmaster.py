"""Whether a PostgreSQL server runs on a data directory, as far as that can be known from outside.

A server writes its process id into `postmaster.pid` and removes the file when it stops. The number means something
only where the server runs: a container has numbers of its own, and another host as well.
"""

from __future__ import annotations

from pathlib import Path

from backup_orchestration.core.errors import UsageError
from backup_orchestration.core.processes import program_of, working_in

PIDFILE = "postmaster.pid"
_PROGRAMS = ("postgres", "postmaster")


def require_stopped(data: Path) -> None:
    """Refuse a data directory on which a server runs, or may run.

    Raises:
        UsageError: says which process it is, or what cannot be known.
    """
    try:
        first = (data / PIDFILE).read_text(encoding="ascii", errors="replace").partition("\n")[0].strip()
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(
            f"{data / PIDFILE} cannot be read: {error.strerror}; a PostgreSQL server may run on {data}",
            remedy="run it as who may read it, once the server is stopped",
        ) from error
    number = int(first) if first.isdecimal() else 0
    # A server works in its data directory, whatever that is called in the container where it runs.
    runs = [pid for pid in working_in(data) if program_of(pid) in _PROGRAMS]
    if number and program_of(number) in _PROGRAMS:
        runs = [number]
    if runs:
        raise UsageError(f"a PostgreSQL server runs on {data}, as process {runs[0]}", remedy="stop it, then try again")
    program = number and program_of(number)
    there = f"which is {program} here" if program else "which is not seen here"
    raise UsageError(
        f"{data / PIDFILE} names process {first or '(none)'}, {there}: the server crashed, or it runs in another "
        "container or on another host, which cannot be known from here",
        remedy=f"make sure that no server uses {data}, then remove {PIDFILE}",
    )
