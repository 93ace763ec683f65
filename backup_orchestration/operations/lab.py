"""What has to run in a lab before restored data can be probed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from backup_orchestration.core.progress import Progress, Update
from backup_orchestration.core.sources import PgDump, Postgres
from backup_orchestration.probes.base import Restored
from backup_orchestration.throwaway.pg_restore import loaded_dump
from backup_orchestration.throwaway.postgres import restored_server
from backup_orchestration.throwaway.process import ProcessLab


@dataclass(frozen=True)
class Live:
    """Restored data, with what runs on it.

    Attributes:
        restored: what probes look at.
        summary: what was started, for people; empty: nothing.
        seconds: that it took.
    """

    restored: Restored
    summary: str = ""
    seconds: float = 0.0


@contextmanager
def started(restored: Restored, lab: ProcessLab, progress: Progress) -> Iterator[Live]:
    """Start what the kind of source needs, for the block, and stop it after it.

    Raises:
        ProbeFailedError: it does not start, or not stop, because of the data.
        HomelabError: it could not be started here; that says nothing of the data.
    """
    source = restored.policy.source
    if isinstance(source, Postgres | PgDump):
        progress(Update("start"))
    if isinstance(source, Postgres):
        with restored_server(restored.root, lab, source.user) as found:
            yield Live(replace(restored, server=found.server), found.summary, found.seconds)
    elif isinstance(source, PgDump):
        archive, run_id = restored.root / source.filename, restored.snapshot.run_id
        with loaded_dump(archive, source.database, run_id, lab) as found:
            yield Live(replace(restored, server=found.server), found.summary, found.seconds)
    else:
        yield Live(restored)
