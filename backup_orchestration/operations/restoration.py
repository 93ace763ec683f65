"""What every restore for real consists of: a snapshot that comes back whole beside its place, and probes of a copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from backup_orchestration.core.commands import Command, run
from backup_orchestration.core.errors import HomelabError, LabError
from backup_orchestration.core.evidence import ProbeResult
from backup_orchestration.core.partial import Partial
from backup_orchestration.core.progress import Progress, Update
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
from backup_orchestration.throwaway.process import ProcessLab, process_lab

_COPY_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Restoration:
    """A snapshot that was restored whole and stands in its place.

    Attributes:
        plan: what was asked for.
        report: what came back; `seconds` is the time that the restore took.
        probes: what the probes said of a copy, in the order they ran.
        unprobed: why the probes could not be carried out; that says nothing of the data. Empty: they were.
        kept: of a restore in place: where what was there before is; None: nothing was there, or nothing was replaced.
    """

    plan: RestorePlan
    report: RestoreReport
    probes: tuple[ProbeResult, ...] = ()
    unprobed: str = ""
    kept: Path | None = None

    @property
    def passed(self) -> bool:
        """Every probe ran and passed."""
        return not self.unprobed and bool(self.probes) and all(item.passed for item in self.probes)

    @property
    def reason(self) -> str:
        """Why it has not passed, or empty."""
        failed = next((item for item in self.probes if not item.passed), None)
        return f"{failed.name}: {failed.summary}" if failed else self.unprobed and f"not probed: {self.unprobed}"


def fetch(homelab: Homelab, plan: RestorePlan, partial: Partial, progress: Progress) -> RestoreReport:
    """Restore beside the place; every file of the repository that is needed is held against its checksum.

    Raises:
        RestoreFailedError: the snapshot did not come back whole.
        HomelabError: it could not be carried out.
    """
    repository = homelab.repository(plan.snapshot.target)

    def waiting() -> None:
        progress(Update("waiting", message=f"{repository.location} is being pruned; waiting for that to end"))

    spec = RestoreSpec(partial.data, witnessed=True, scratch=partial.root, at=plan.at)
    locks = homelab.home / "locks"
    with reading(locks, repository.location, plan.snapshot, timeout=LOCK_SECONDS, on_wait=waiting):
        return repository.restore(plan.snapshot, spec, progress)


def probed(
    homelab: Homelab, plan: RestorePlan, report: RestoreReport, began: datetime, progress: Progress
) -> Restoration:
    """Run the probes on a copy of what was restored, and say what they said.

    Args:
        homelab, plan, progress: of the restore.
        report: names where it stands now.
        began: when the restore did.
    """
    restored = Restored(report.root, homelab.policy(plan.snapshot.target), plan.snapshot, began, at=plan.at)
    try:
        return Restoration(plan, report, tuple(_probe_copy(homelab, restored, report.bytes, progress)))
    except HomelabError as error:
        return Restoration(plan, report, unprobed=error.message)


def _probe_copy(homelab: Homelab, restored: Restored, size: int, progress: Progress) -> Sequence[ProbeResult]:
    with process_lab(homelab.home / "labs", restored.policy.slug) as lab:
        progress(Update("copy"))
        _copy(restored.root, lab, size)
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
