"""All Dagster definitions of an installation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations.backup import NO_WISH, Wish
from backup_orchestration.orchestration import names
from backup_orchestration.orchestration.assets import assets_of
from backup_orchestration.orchestration.listener import Listener
from backup_orchestration.orchestration.pruning import prune_job, prune_schedule
from backup_orchestration.orchestration.reconciling import reconcile_job, reconcile_schedule
from backup_orchestration.orchestration.resources import provider_resources
from backup_orchestration.orchestration.restore import restore_job
from backup_orchestration.orchestration.schedules import schedules_of
from backup_orchestration.orchestration.sensors import sensors_of


def build_definitions(
    homelab: Homelab,
    targets: Sequence[str] | None = None,
    listener: Listener | None = None,
    *,
    wish: Wish = NO_WISH,
    listed: Sequence[Snapshot] | None = None,
) -> dg.Definitions:
    """Build the graph.

    Args:
        homelab: the installation.
        targets: only these; default all. A run in process needs its own target and no other.
        listener: hears of runs in this process.
        wish: what a person asked of backups besides.
        listed: of one target: what its repository has just listed, for a restore test in this process.
    """
    chosen = list(homelab.policies) if targets is None else list(targets)
    assets: list[Any] = []
    for target in chosen:
        assets += assets_of(homelab, target, listener or Listener(), wish=wish, listed=listed)
    heard = listener or Listener()
    jobs: list[Any] = [prune_job(homelab, heard), restore_job(homelab, heard), reconcile_job(homelab, heard)]
    schedules: list[Any] = [schedule for target in chosen for schedule in schedules_of(homelab.policy(target))]
    if chosen:
        backups = dg.AssetSelection.assets(*(names.target_key(target) for target in chosen))
        jobs.append(dg.define_asset_job(names.BACKUPS_JOB, backups, description="Takes snapshots of chosen targets."))
        schedules += [reconcile_schedule(chosen), prune_schedule(chosen)]
    return dg.Definitions(
        assets=assets,
        jobs=jobs,
        schedules=schedules,
        sensors=sensors_of(homelab, chosen) if chosen else [],
        resources=provider_resources(homelab),
        # The default executor starts a process for each step and costs seconds; the tools are processes already.
        executor=dg.in_process_executor,
    )
