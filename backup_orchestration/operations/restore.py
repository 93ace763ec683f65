"""Restore one snapshot for real: into a directory that is new or empty, or over the source.

What a person gets is never probed itself, but a copy of it: a probe may change what it looks at, and a server does.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from backup_orchestration.core.errors import UsageError
from backup_orchestration.core.locks import repository_lock
from backup_orchestration.core.partial import partial_directory
from backup_orchestration.core.private_files import private_directory
from backup_orchestration.core.progress import Progress, silent
from backup_orchestration.core.relocated import readdress
from backup_orchestration.core.sources import Postgres
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations.restoration import Restoration, fetch, probed
from backup_orchestration.operations.restore_over import restore_over
from backup_orchestration.operations.restore_plan import RestorePlan
from backup_orchestration.throwaway.process import reap

# A cluster belongs to its own user, who must get to it; what is in there is closed to everybody else.
_OWNER_PASSES = 0o711


def require_word(plan: RestorePlan, word: str) -> None:
    """Refuse to go on without the word that the plan has told.

    Raises:
        UsageError: it is another one.
    """
    if word != plan.word:
        raise UsageError(f"confirm: {word!r} is not the word for this restore", remedy=f"write {plan.word}")


def restore(homelab: Homelab, plan: RestorePlan, progress: Progress = silent) -> Restoration:
    """Carry out a plan.

    Every file of the repository that is needed is read whole and held against its checksum. Whoever is interrupted, in
    whatever moment, leaves the place as it was.

    Returns:
        What came of it; `passed` says whether the probes found it good. In a directory it stands there also if they did
        not; in place, nothing was replaced then.

    Raises:
        RestoreFailedError: the snapshot did not come back whole; the place is as it was.
        HomelabError: it could not be carried out; the place is as it was.
    """
    if plan.obstacle:
        raise plan.obstacle
    reap(homelab.home / "labs")
    began = homelab.now()
    with repository_lock(homelab.home / "locks", f"restores to {plan.place}", timeout=0):
        if plan.in_place:
            return restore_over(homelab, plan, began, progress)
        return _restore_into(homelab, plan, began, progress)


def _restore_into(homelab: Homelab, plan: RestorePlan, began: datetime, progress: Progress) -> Restoration:
    """Restore beside the place, put it there when it is whole, and probe a copy."""
    if plan.place.is_relative_to(homelab.home):
        private_directory(plan.place.parent)
    with partial_directory(plan.place) as partial:
        report = fetch(homelab, plan, partial, progress)
        if isinstance(homelab.policy(plan.snapshot.target).source, Postgres):
            readdress(partial.data, partial.data, plan.place)
            partial.keep(_OWNER_PASSES)
        else:
            partial.keep()
    return probed(homelab, plan, replace(report, root=plan.place), began, progress)
