"""Restore over the source: what was there is kept, and nothing is replaced before the probes have passed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from backup_orchestration.core import replaced
from backup_orchestration.core.locks import repository_lock
from backup_orchestration.core.partial import partial_directory
from backup_orchestration.core.private_files import sync_directory
from backup_orchestration.core.progress import Progress, Update
from backup_orchestration.core.sources import Files
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations.backup import LOCK_SECONDS
from backup_orchestration.operations.in_place import refuse, require_kind, source_place
from backup_orchestration.operations.mend import mend
from backup_orchestration.operations.restoration import Restoration, fetch, probed
from backup_orchestration.operations.restore_plan import RestorePlan


def restore_over(homelab: Homelab, plan: RestorePlan, began: datetime, progress: Progress) -> Restoration:
    """Restore beside the source, probe a copy, and put it in the place of what is there if they all passed.

    The caller holds the lock of restores to this place.

    Raises:
        HomelabError: it could not be carried out; the place is as it was, unless the message says otherwise.
    """
    mend(homelab.policy(plan.snapshot.target), progress)
    source, *_ = homelab.policy(plan.snapshot.target).source.paths
    with partial_directory(plan.place) as partial:
        report = fetch(homelab, plan, partial, progress)
        done = probed(homelab, plan, report, began, progress)
        done = replace(done, report=replace(report, root=plan.place))
        if not done.passed:
            return done
        new = partial.data / str(source).lstrip("/")
        progress(Update("replace"))
        with _alone(homelab, plan.place, progress):
            # What was looked at when this was planned may have changed since, and a server may have been started.
            refuse(homelab, plan.snapshot, plan.place)
            require_kind(plan.place, new)
            return replace(done, kept=_put(homelab, plan, new))


def _put(homelab: Homelab, plan: RestorePlan, new: Path) -> Path | None:
    if os.path.lexists(plan.place):
        return replaced.replace(plan.place, new, plan.snapshot.key, homelab.now()).root
    os.sync()
    new.rename(plan.place)
    sync_directory(plan.place.parent)
    return None


@contextmanager
def _alone(homelab: Homelab, place: Path, progress: Progress) -> Iterator[None]:
    """Keep backups of this source out for the block: they would find half the one and half the other."""
    here = [
        target
        for target, item in homelab.policies.items()
        if isinstance(item.part.source, Files) and source_place(item.part) == place
    ]
    with ExitStack() as held:
        for location in sorted({homelab.repository(target).location for target in here}):

            def waiting(location: str = location) -> None:
                progress(Update("waiting", message=f"{location} is in use; waiting for it"))

            lock = repository_lock(homelab.home / "locks", location, timeout=LOCK_SECONDS, on_wait=waiting)
            held.enter_context(lock)
        yield
