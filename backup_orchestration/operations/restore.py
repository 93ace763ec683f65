"""Restore one snapshot into a directory that is new or empty, and probe a copy of it.

What stands in that directory is never probed itself: a probe may change what it looks at, and a server does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backup_orchestration.core.commands import Command, run
from backup_orchestration.core.errors import HomelabError, LabError, UsageError
from backup_orchestration.core.evidence import ProbeResult
from backup_orchestration.core.locks import repository_lock
from backup_orchestration.core.partial import partial_directory
from backup_orchestration.core.private_files import private_directory
from backup_orchestration.core.progress import Progress, Update, silent
from backup_orchestration.core.readers import reading
from backup_orchestration.core.relocated import readdress
from backup_orchestration.core.sources import Postgres
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations.backup import LOCK_SECONDS
from backup_orchestration.operations.restore_plan import RestorePlan
from backup_orchestration.operations.restore_test import probe_all
from backup_orchestration.probes.base import Restored
from backup_orchestration.providers.base import RestoreReport, RestoreSpec
from backup_orchestration.providers.capture import require_space
from backup_orchestration.throwaway.process import ProcessLab, process_lab, reap

_COPY_SECONDS = 24 * 3600.0
# A cluster belongs to its own user, who must get to it; what is in there is closed to everybody else.
_OWNER_PASSES = 0o711


@dataclass(frozen=True)
class Restoration:
    """A snapshot that was restored whole and stands in its place.

    Attributes:
        plan: what was asked for.
        report: what came back; `seconds` is the time that the restore took.
        probes: what the probes said of a copy, in the order they ran.
        unprobed: why the probes could not be carried out; that says nothing of the data. Empty: they were.
    """

    plan: RestorePlan
    report: RestoreReport
    probes: tuple[ProbeResult, ...] = ()
    unprobed: str = ""

    @property
    def passed(self) -> bool:
        """Every probe ran and passed."""
        return not self.unprobed and bool(self.probes) and all(item.passed for item in self.probes)

    @property
    def reason(self) -> str:
        """Why it has not passed, or empty."""
        failed = next((item for item in self.probes if not item.passed), None)
        return f"{failed.name}: {failed.summary}" if failed else self.unprobed and f"not probed: {self.unprobed}"


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
    whatever moment, leaves nothing at the place.

    Returns:
        What stands there now; `passed` says whether the probes found it good. It stands there also if they did not.

    Raises:
        RestoreFailedError: the snapshot did not come back whole; nothing is at the place.
        HomelabError: it could not be carried out; nothing is at the place.
    """
    if plan.obstacle:
        raise plan.obstacle
    target = plan.snapshot.target
    reap(homelab.home / "labs")
    began = homelab.now()
    if plan.place.is_relative_to(homelab.home):
        private_directory(plan.place.parent)
    with repository_lock(homelab.home / "locks", f"restores to {plan.place}", timeout=0):
        report = _restored(homelab, plan, progress)
    restored = Restored(plan.place, homelab.policy(target), plan.snapshot, began, at=plan.at)
    try:
        return Restoration(plan, report, tuple(_probed(homelab, restored, report, progress)))
    except HomelabError as error:
        return Restoration(plan, report, unprobed=error.message)


def _restored(homelab: Homelab, plan: RestorePlan, progress: Progress) -> RestoreReport:
    """Restore beside the place, and put it there when it is whole."""
    repository = homelab.repository(plan.snapshot.target)

    def waiting() -> None:
        progress(Update("waiting", message=f"{repository.location} is being pruned; waiting for that to end"))

    with partial_directory(plan.place) as partial:
        spec = RestoreSpec(partial.data, witnessed=True, scratch=partial.root, at=plan.at)
        locks = homelab.home / "locks"
        with reading(locks, repository.location, plan.snapshot, timeout=LOCK_SECONDS, on_wait=waiting):
            report = repository.restore(plan.snapshot, spec, progress)
        if isinstance(homelab.policy(plan.snapshot.target).source, Postgres):
            readdress(partial.data, partial.data, plan.place)
            partial.keep(_OWNER_PASSES)
        else:
            partial.keep()
    return replace(report, root=plan.place)


def _probed(homelab: Homelab, restored: Restored, report: RestoreReport, progress: Progress) -> Sequence[ProbeResult]:
    with process_lab(homelab.home / "labs", restored.policy.slug) as lab:
        progress(Update("copy"))
        _copy(restored.root, lab, report.bytes)
        if isinstance(restored.policy.source, Postgres):
            readdress(lab.data, restored.root, lab.data)
        return probe_all(homelab, replace(restored, root=lab.data), lab, progress)


def _copy(root: Path, lab: ProcessLab, size: int) -> None:
    """Copy what was restored into a lab; where the file system can, blocks are shared and nothing is copied.

    Raises:
        SpaceError, LabError: there is no room, or it cannot be copied.
    """
    require_space(lab.data, size, f"a copy of {root} to probe")
    argv = ("cp", "-a", "--reflink=auto", "-T", "--", str(root), str(lab.data))
    done = run(Command(argv, _COPY_SECONDS, cwd=lab.root))
    if done.returncode != 0:
        raise LabError(f"what was restored cannot be copied to be probed: {done.reason}")
