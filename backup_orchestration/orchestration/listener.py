"""Whoever started a run in this process and wants to hear of it: the command line, or nobody."""

from __future__ import annotations

from backup_orchestration.core.errors import HomelabError
from backup_orchestration.core.evidence import Evidence
from backup_orchestration.core.progress import Update
from backup_orchestration.core.retention import PrunePlan
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.operations.prune import Pruning
from backup_orchestration.operations.restoration import Restoration


class Listener:
    """Hears nothing; derive from it."""

    def progress(self, target: str, update: Update) -> None:
        """A step forward."""

    def took(self, snapshot: Snapshot) -> None:
        """A snapshot was taken and read back."""

    def tested(self, evidence: Evidence) -> None:
        """A restore test was carried out and its evidence is stored."""

    def planned(self, plan: PrunePlan) -> None:
        """Retention was planned; nothing is removed yet."""

    def pruned(self, done: Pruning) -> None:
        """Retention was applied, or was found to be halted."""

    def restored(self, done: Restoration) -> None:
        """A snapshot was restored for good and stands in its place; its probes may have failed."""

    def failed(self, target: str, error: HomelabError) -> None:
        """A run of this target failed."""
