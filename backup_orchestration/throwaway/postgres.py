"""PostgreSQL in a process lab: started on restored data, asked, and stopped.

While it recovers no session is allowed, and then only ours. It has no network, where the system allows that: what
runs while it is asked may be code of the database. It can write in the lab only, which is more than caution: WAL that
creates a tablespace names the directory of the server that it comes from. What recovery needs lies beside the data.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from backup_orchestration.core.beside import Running, running
from backup_orchestration.core.commands import Command, can
from backup_orchestration.core.errors import HomelabError, LabError, PostgresError, ProbeFailedError
from backup_orchestration.core.postgres import NEUTRAL, PGDATA, Programs, Server, find_programs, major_of
from backup_orchestration.core.private_files import private_directory
from backup_orchestration.core.tools import dotted
from backup_orchestration.throwaway.collations import check_collations
from backup_orchestration.throwaway.process import ProcessLab
from backup_orchestration.throwaway.restored_cluster import START, limits, make_safe, refuse_strays

STOP = "stop"
_PORT = 5432
_RECOVERY_SECONDS = 6 * 3600.0
_STOP_SECONDS = 600.0
_KILL_SECONDS = 10.0
_POLL_SECONDS = 0.02
_STATUS_LINE = 7  # of postmaster.pid, see pidfile.h

# On the command line they stand above every file.
_SETTINGS = {
    "listen_addresses": "",
    "port": str(_PORT),
    "unix_socket_permissions": "0700",
    "ssl": "off",
    "archive_mode": "off",
    "archive_command": "",
    "archive_cleanup_command": "",
    "recovery_end_command": "",
    "recovery_target_action": "promote",
    "hot_standby": "off",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "synchronous_standby_names": "",
    "max_wal_senders": "0",
    # Slots and the origins of subscriptions may have come along; nothing uses them.
    "wal_level": "logical",
    "max_replication_slots": "1000",
    "max_logical_replication_workers": "0",
    "max_parallel_workers": "0",
    "shared_preload_libraries": "",
    "session_preload_libraries": "",
    "local_preload_libraries": "",
    "autovacuum": "off",
    "jit": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
    "restart_after_crash": "off",
    "zero_damaged_pages": "off",
    "ignore_checksum_failure": "off",
    # Not in /dev/shm, where the lab cannot write.
    "dynamic_shared_memory_type": "mmap",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_line_prefix": "",
    "log_checkpoints": "off",
    "lc_messages": "C",
}
# Of a session; the settings of a restored database or role stand above those of the server, but below these.
_SESSION = {
    **NEUTRAL,
    "session_preload_libraries": "",
    "local_preload_libraries": "",
    "default_transaction_read_only": "on",
    "session_replication_role": "origin",
}
_NO_EVENT_TRIGGERS = {"event_triggers": "off"}
_EVENT_TRIGGERS_CAN_BE_OFF = 17

# What says nothing of the data. A restore command that ends with more than 125 tells the server that it could not be
# carried out, which is another thing than that there is no such segment.
_NOT_THE_DATA = re.compile(
    r"No space left on device|Cannot allocate memory|could not map anonymous shared memory|Too many open files|"
    r"could not create shared memory|could not create any Unix-domain|terminated by signal 9|"
    r"could not restore file .* from archive|database locale is incompatible with operating system"
)


@dataclass(frozen=True)
class Started:
    """A server that answers.

    Attributes:
        server: it.
        cut_off: it has no network.
        seconds: that recovery and start took.
    """

    server: Server
    cut_off: bool
    seconds: float

    @property
    def summary(self) -> str:
        """For people."""
        network = "without a network" if self.cut_off else "NOT cut off from the network, which this system refuses"
        return f"PostgreSQL {dotted(self.server.programs.version)} in {self.seconds:.1f} s, {network}"


@dataclass(frozen=True)
class Cluster:
    """A cluster in a lab.

    Attributes:
        programs: of its major version.
        data: its data directory, below the lab's root.
        lab: all that it can write to, with `sockets`.
        sockets: directory of its socket.
        limits: settings that its data needs.
    """

    programs: Programs
    data: Path
    lab: Path
    sockets: Path
    limits: Mapping[str, str] = field(default_factory=dict)

    @property
    def owner(self) -> int:
        """User id that the server runs as."""
        return self.data.stat().st_uid


@contextmanager
def restored_server(root: Path, lab: ProcessLab, user: str) -> Iterator[Started]:
    """Start the cluster that was restored to `root`, for the block, and stop it cleanly after it.

    Args:
        root: holds the data directory as `pgdata`; tablespaces are below it.
        lab: it was restored in.
        user: role to ask as; a superuser of the cluster.

    Raises:
        ProbeFailedError: `start`: it does not recover, start or answer; `stop`: it does not shut down.
        ToolMissingError: PostgreSQL of its major version is not here.
        LabError: no lab can tell, or not on this machine: no room, no way to confine it, other rules of collation.
    """
    clock = time.monotonic()
    data = root / PGDATA
    try:
        major = major_of(data)
    except PostgresError as error:
        raise ProbeFailedError(error.message, probe=START) from error
    programs = find_programs(major)
    make_safe(root, data)
    cluster = Cluster(programs, data, lab.root, lab.sockets(), limits(programs, data))
    try:
        with serving(cluster, user) as server:
            refuse_strays(root, data)
            with blaming():
                check_collations(server)
            yield Started(server, can(cut_off=True), time.monotonic() - clock)
    except ProbeFailedError:
        refuse_strays(root, data)
        raise


@contextmanager
def serving(cluster: Cluster, user: str) -> Iterator[Server]:
    """Start a cluster in a lab, for the block; as `restored_server`."""
    with _postmaster(cluster) as postmaster:
        _wait(postmaster, cluster.data)
        settings = _SESSION if cluster.programs.major < _EVENT_TRIGGERS_CAN_BE_OFF else _SESSION | _NO_EVENT_TRIGGERS
        server = Server(cluster.programs, cluster.sockets, _PORT, user, cluster.owner, settings=settings)
        with blaming():
            server.rows("SELECT 1 AS one")
        yield server
        _stop(postmaster, STOP)


@contextmanager
def blaming() -> Iterator[None]:
    """Says who is to blame when a server in a lab refuses what no good cluster refuses.

    Raises:
        ProbeFailedError: `start`: the data.
        LabError: this machine.
    """
    try:
        yield
    except PostgresError as error:
        raise blame(error.message, START) from error


@contextmanager
def _postmaster(cluster: Cluster) -> Iterator[Running]:
    writes = (cluster.lab, cluster.sockets)
    if not can(writes=writes):
        raise LabError(
            "this system does not let a server be kept from writing outside its lab, which data may make it do",
            remedy="use Linux 5.13 or newer with Landlock, and a container that does not forbid it",
        )
    own = private_directory(cluster.lab / "server")
    files = {"config_file": "", "hba_file": "local all all trust\n", "ident_file": ""}
    for name, text in files.items():
        (own / name).write_text(text, encoding="ascii")
    settings = {
        **_SETTINGS,
        **cluster.limits,
        **{name: str(own / name) for name in files},
        "unix_socket_directories": str(cluster.sockets),
    }
    argv = [cluster.programs.path("postgres"), "-D", str(cluster.data)]
    argv += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    # SIGINT is a fast shutdown; SIGTERM waits for those who ask.
    command = Command(
        argv,
        0,
        cwd=cluster.lab,
        user=cluster.owner,
        cut_off=can(cut_off=True),
        writes=writes,
        last_signal=signal.SIGINT,
    )
    with running(command, _KILL_SECONDS) as postmaster:
        try:
            yield postmaster
        finally:
            if postmaster.returncode is None:
                postmaster.signal(signal.SIGQUIT)  # whoever got here without `_stop` wants no more of it


def _wait(postmaster: Running, data: Path) -> None:
    """Wait until recovery is over. With `hot_standby` off, "ready" means that, and no session is needed to see it."""
    deadline = time.monotonic() + _RECOVERY_SECONDS
    while _status(data) != "ready":
        if postmaster.returncode is not None:
            raise _ended(postmaster, START)
        if time.monotonic() > deadline:
            raise LabError(f"the restored cluster has not recovered within {_RECOVERY_SECONDS:g} s")
        time.sleep(_POLL_SECONDS)


def _status(data: Path) -> str:
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return lines[_STATUS_LINE].strip() if len(lines) > _STATUS_LINE else ""


def _stop(postmaster: Running, step: str) -> None:
    """A fast shutdown, which writes all that is in memory: what is looked at afterwards is whole."""
    postmaster.signal(signal.SIGINT)
    deadline = time.monotonic() + _STOP_SECONDS
    while postmaster.returncode is None:
        if time.monotonic() > deadline:
            raise LabError(f"the server in the lab has not stopped within {_STOP_SECONDS:g} s")
        time.sleep(_POLL_SECONDS)
    if postmaster.returncode != 0:
        raise _ended(postmaster, step)


def _ended(postmaster: Running, step: str) -> HomelabError:
    """Why a server has ended, in its own words."""
    lines = postmaster.lines()
    grave = [line for line in lines if line.startswith("PANIC:")] or [
        line for line in lines if line.startswith("FATAL:")
    ]
    why = grave[-1] if grave else postmaster.last_line() or f"it ended with {postmaster.returncode}"
    return blame(why, step, lines)


def blame(why: str, step: str, lines: Sequence[str] = ()) -> HomelabError:
    """The error for a server in a lab that refuses what no good data makes it refuse.

    Args:
        why: its words.
        step: name of the failed step, if the data is to blame.
        lines: what else it said; this machine is to blame if anything there says so.
    """
    if any(map(_NOT_THE_DATA.search, (why, *lines))):
        return LabError(f"PostgreSQL cannot work in the lab: {why}", remedy="see to it, and run the test again")
    return ProbeFailedError(why, probe=step)
