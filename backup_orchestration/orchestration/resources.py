"""The one adapter that makes a provider a Dagster resource."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import PrivateAttr

from backup_orchestration.core.evidence import Evidence
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.progress import Progress
from backup_orchestration.core.retention import PrunePlan
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.homelab.load import Homelab, load
from backup_orchestration.operations.backup import Wish, backup
from backup_orchestration.operations.prune import Pruning, prune
from backup_orchestration.operations.restoration import Restoration
from backup_orchestration.operations.restore import restore
from backup_orchestration.operations.restore_plan import RestorePlan
from backup_orchestration.operations.restore_test import restore_test
from backup_orchestration.orchestration import names


class ProviderResource(dg.ConfigurableResource[Any]):
    """A provider of one installation, as runs use it. Nothing secret is in its configuration.

    Attributes:
        provider: its name.
        settings: path of the settings file; the installation is loaded from it in the process of the run.
    """

    provider: str
    settings: str
    _homelab: Homelab | None = PrivateAttr(default=None)

    def homelab(self) -> Homelab:
        """The installation."""
        if self._homelab is None:
            self._homelab = load(Path(self.settings))
        return self._homelab

    def backup(self, target: str, run_id: str, progress: Progress, *, existed: bool, wish: Wish) -> Snapshot:
        """See `operations.backup`."""
        return backup(self.homelab(), target, run_id, progress, existed=existed, wish=wish)

    def restore_test(
        self, target: str, key: str, run_id: str, progress: Progress, *, listed: Sequence[Snapshot]
    ) -> Evidence:
        """See `operations.restore_test`."""
        return restore_test(self.homelab(), target, key, run_id, progress, listed=listed)

    def prune(
        self, target: str, progress: Progress, *, force: int | None, shown: Callable[[PrunePlan], None]
    ) -> Pruning:
        """See `operations.prune`."""
        return prune(self.homelab(), target, progress, force=force, shown=shown)

    def restore(self, plan: RestorePlan, progress: Progress) -> Restoration:
        """See `operations.restore`."""
        return restore(self.homelab(), plan, progress)


def provider_resources(homelab: Homelab) -> dict[str, ProviderResource]:
    """One resource for each provider, by its key."""
    return {
        names.resource_key(name): ProviderResource(provider=name, settings=str(homelab.path))
        for name in homelab.providers
    }


def provider_of(resources: object, policy: BackupPolicy) -> ProviderResource:
    """The resource of a policy's provider, of those that an op has required."""
    found: ProviderResource = getattr(resources, names.resource_key(policy.provider))
    return found
