"""What workers do. Imports Dagster: this module is imported when a run is asked for, before the fork."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import backup_orchestration.orchestration.execute as execute
from backup_orchestration.cli.ahead import Known
from backup_orchestration.cli.workers import Task, Tell
from backup_orchestration.core.errors import HomelabError
from backup_orchestration.core.evidence import Evidence
from backup_orchestration.core.progress import Update
from backup_orchestration.core.retention import PrunePlan
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations.backup import Wish
from backup_orchestration.operations.follow_up import to_test_again
from backup_orchestration.operations.prune import Pruning
from backup_orchestration.operations.restoration import Restoration
from backup_orchestration.operations.restore_plan import RestorePlan
from backup_orchestration.operations.status import judge
from backup_orchestration.orchestration.instance import open_instance
from backup_orchestration.orchestration.listener import Listener
from backup_orchestration.orchestration.stale_runs import instance_for_runs


class Forwarding(Listener):
    """Tells the parent everything; remembers the last evidence."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self.evidence: Evidence | None = None

    def progress(self, target: str, update: Update) -> None:
        """See `Listener`."""
        self._tell("progress", update)

    def took(self, snapshot: Snapshot) -> None:
        """See `Listener`."""
        self._tell("took", snapshot)

    def tested(self, evidence: Evidence) -> None:
        """See `Listener`."""
        self.evidence = evidence
        self._tell("tested", evidence)

    def planned(self, plan: PrunePlan) -> None:
        """See `Listener`."""
        self._tell("planned", plan)

    def pruned(self, done: Pruning) -> None:
        """See `Listener`."""
        self._tell("pruned", done)

    def restored(self, done: Restoration) -> None:
        """See `Listener`."""
        self._tell("restored", done)

    def failed(self, target: str, error: HomelabError) -> None:
        """See `Listener`."""
        self._tell("failed", error)


def backups(homelab: Homelab, wish: Wish) -> Iterator[Task]:
    """Back up one target after the other."""
    with instance_for_runs(homelab) as instance:

        def task(target: str, tell: Tell) -> None:
            if not execute.run_backup(homelab, instance, target, Forwarding(tell), wish=wish):
                tell("failed", None)

        yield task


def restore_tests(homelab: Homelab, key: str | None, at: datetime | None, known: Known) -> Iterator[Task]:
    """Restore-test one target after the other: this snapshot, or the newest; as it is, or at a moment after it.

    `known` is asked for what a repository lists; where it does not know, the repository is asked.
    When a test fails, the recovery point is tested again at once, because snapshots share data.
    """
    with instance_for_runs(homelab) as instance:

        def task(target: str, tell: Tell) -> None:
            listener = Forwarding(tell)
            try:
                listed = known(target) or execute.list_snapshots(homelab, instance, target)
                wanted = key or listed[-1].key
                if at is None:
                    passed = execute.run_restore_test(homelab, instance, target, wanted, listener, listed=listed)
                else:
                    passed = execute.test_moment(homelab, instance, target, wanted, at, listener)
                if not passed:
                    tell("failed", None)
                if listener.evidence is None or listener.evidence.passed:
                    return
                again = to_test_again(homelab, listener.evidence)
                if again is not None:
                    tell("line", "protection: suspect; nothing is pruned")
                    tell("line", f"testing the recovery point {again} again")
                    execute.run_restore_test(homelab, instance, target, again, listener)
                tell("line", _protection(homelab, target))
            except HomelabError as error:
                tell("failed", error)

        yield task


def prunings(homelab: Homelab, force: int | None) -> Iterator[Task]:
    """Apply the retention of one target after the other."""
    with instance_for_runs(homelab) as instance:

        def task(target: str, tell: Tell) -> None:
            if not execute.run_prune(homelab, instance, target, Forwarding(tell), force=force):
                tell("failed", None)

        yield task


def restores(homelab: Homelab, plan: RestorePlan) -> Iterator[Task]:
    """Carry out one plan."""
    with instance_for_runs(homelab) as instance:

        def task(_target: str, tell: Tell) -> None:
            if not execute.run_restore(homelab, instance, plan, Forwarding(tell)):
                tell("failed", None)

        yield task


def make_storage(homelab: Homelab) -> None:
    """Make Dagster's storage where there is none yet."""
    with open_instance(homelab):
        pass


def _protection(homelab: Homelab, target: str) -> str:
    found = judge(homelab, target)
    point = f"recovery point {found.recovery_point.key}" if found.recovery_point else "no recovery point"
    return f"protection: {found.protection}, {point}"
