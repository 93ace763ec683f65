"""Runs of the command line whose process is gone: killed, out of memory, or before a restart of the machine.

Nobody ends such a run in Dagster: it stays "started" for ever. So every run of the command line is tagged with the
process that works on it, and the next command reports those of dead processes as failed. A process is known by
machine, boot, process id and start, because process ids are used again. Runs that Dagster's own daemon started
carry no such tag and are watched by its run monitoring.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg

from backup_orchestration.core.errors import RepositoryLockedError
from backup_orchestration.core.locks import repository_lock
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.orchestration.instance import open_instance

_HOST_TAG = "homelab/host"
_PROCESS_TAG = "homelab/process"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@contextmanager
def instance_for_runs(homelab: Homelab) -> Iterator[dg.DagsterInstance]:
    """The instance of an installation, for runs in this process; those of dead processes have ended in it."""
    with open_instance(homelab) as instance:
        with (
            suppress(RepositoryLockedError),  # another worker is at it
            repository_lock(homelab.home / "locks", "stale runs", timeout=0),
        ):
            fail_stale_runs(instance)
        yield instance


def process_tags() -> Mapping[str, str]:
    """What names this process for ever: the host, and `<boot>/<process id>/<start in ticks since boot>`."""
    pid = os.getpid()
    return {_HOST_TAG: socket.gethostname(), _PROCESS_TAG: f"{_boot()}/{pid}/{_start_of(pid)}"}


def stale_runs(instance: dg.DagsterInstance) -> list[dg.RunRecord]:
    """Unfinished runs of this host whose process is gone, newest first."""
    mine = dg.RunsFilter(statuses=_UNFINISHED, tags={_HOST_TAG: socket.gethostname()})
    return [record for record in instance.get_run_records(mine) if _is_gone(record.dagster_run.tags)]


def fail_stale_runs(instance: dg.DagsterInstance) -> list[str]:
    """Report them as failed; returns their ids."""
    failed = []
    for record in stale_runs(instance):
        run = record.dagster_run
        instance.report_run_failed(run, f"its process {_pid_of(run.tags)} ended before the run did")
        failed.append(run.run_id)
    return failed


def _is_gone(tags: Mapping[str, str]) -> bool:
    boot, pid, start = tags.get(_PROCESS_TAG, "//").split("/")
    if not pid:
        return False
    return boot != _boot() or _start_of(int(pid)) != start


def _pid_of(tags: Mapping[str, str]) -> str:
    return tags[_PROCESS_TAG].split("/")[1]


def _boot() -> str:
    return _BOOT_ID.read_text(encoding="ascii").strip()


def _start_of(pid: int) -> str:
    """Field 22 of its `stat`; empty for a process that is gone or only waits to be collected."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # The second field is the program's name in brackets and may hold anything.
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]
