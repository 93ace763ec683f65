"""Runs whose process is gone: killed, out of memory, or before a restart of the machine.

Nobody ends such a run in Dagster: it stays "started" for ever, and its place in the repository's pool is never free
again. So every run is tagged with the process that works on it, and the next command, or the daemon's sensor, reports
those of dead processes as failed. A process is known by machine, boot, process id and start, because process ids are
used again.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import dagster as dg

from backup_orchestration.core import processes
from backup_orchestration.core.errors import RepositoryLockedError
from backup_orchestration.core.locks import repository_lock
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.orchestration.instance import open_instance

_HOST_TAG = "homelab/host"
_PROCESS_TAG = "homelab/process"
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
    """What names this process for ever: the host, and its name there."""
    return {_HOST_TAG: socket.gethostname(), _PROCESS_TAG: processes.name_of(os.getpid())}


def mark_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Tag a run that Dagster started with the process it runs in, which is this one."""
    tags = process_tags()
    if run.tags.get(_PROCESS_TAG) != tags[_PROCESS_TAG]:
        instance.add_run_tags(run.run_id, tags)


def stale_runs(instance: dg.DagsterInstance) -> list[dg.RunRecord]:
    """Unfinished runs of this host whose process is gone, newest first."""
    mine = dg.RunsFilter(statuses=_UNFINISHED, tags={_HOST_TAG: socket.gethostname()})
    records = instance.get_run_records(mine)
    return [
        record
        for record in records
        if _is_gone(record.dagster_run.tags) and not _is_inherited(instance, record.dagster_run)
    ]


def fail_stale_runs(instance: dg.DagsterInstance) -> list[str]:
    """Report them as failed; returns their ids."""
    failed = []
    for record in stale_runs(instance):
        run = record.dagster_run
        instance.report_run_failed(run, f"its process {_pid_of(run.tags)} ended before the run did")
        failed.append(run.run_id)
    return failed


def _is_gone(tags: Mapping[str, str]) -> bool:
    name = tags.get(_PROCESS_TAG)
    return name is not None and not processes.is_alive(name)


def _is_inherited(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether the tag is that of the run it executes again: the page copies tags. It has not begun to work yet."""
    before = instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None
    return before is not None and before.tags.get(_PROCESS_TAG) == run.tags.get(_PROCESS_TAG)


def _pid_of(tags: Mapping[str, str]) -> int:
    return processes.pid_of(tags[_PROCESS_TAG])
