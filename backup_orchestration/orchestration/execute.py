"""Run one backup or one restore test in this process, as Dagster runs that the UI shows."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from functools import partial

import dagster as dg

from backup_orchestration.core.errors import HomelabError, RepositoryMissingError
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations.backup import NO_WISH, Wish
from backup_orchestration.operations.restore_plan import RestorePlan
from backup_orchestration.operations.restore_test import restore_test
from backup_orchestration.orchestration import names
from backup_orchestration.orchestration.build import build_definitions
from backup_orchestration.orchestration.listener import Listener
from backup_orchestration.orchestration.pruning import prune_config, prune_job
from backup_orchestration.orchestration.reconciling import reconcile_config, reconcile_job
from backup_orchestration.orchestration.recovery_point import recompute_recovery_point
from backup_orchestration.orchestration.resources import provider_resources
from backup_orchestration.orchestration.restore import restore_config, restore_job
from backup_orchestration.orchestration.stale_runs import process_tags

# Dagster's own console lines repeat what the command line shows.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def run_backup(
    homelab: Homelab, instance: dg.DagsterInstance, target: str, listener: Listener, *, wish: Wish = NO_WISH
) -> bool:
    """Back up one target; the listener hears of the snapshot or of the error. Returns whether the run succeeded."""
    definitions = build_definitions(homelab, [target], listener, wish=wish)
    job = definitions.resolve_job_def(names.BACKUPS_JOB)
    return _execute(job, instance, target, listener, names.target_key(target))


def run_restore_test(
    homelab: Homelab,
    instance: dg.DagsterInstance,
    target: str,
    key: str,
    listener: Listener,
    *,
    listed: Sequence[Snapshot] | None = None,
) -> bool:
    """Restore-test one snapshot; the listener hears of the evidence or of the error. Returns whether it passed.

    `listed` is what the repository has just listed; without it, it is asked.
    """
    instance.add_dynamic_partitions(names.partitions_name(target), [key])
    definitions = build_definitions(homelab, [target], listener, listed=listed)
    job = definitions.resolve_implicit_global_asset_job_def()
    return _execute(job, instance, target, listener, names.verified_key(target), key)


def run_prune(
    homelab: Homelab, instance: dg.DagsterInstance, target: str, listener: Listener, *, force: int | None
) -> bool:
    """Apply the retention of one target; the listener hears of the plan, of what was done, or of the error."""
    result = prune_job(homelab, listener).execute_in_process(
        run_config={**_QUIET, **prune_config(target, force)},
        instance=instance,
        resources=provider_resources(homelab),
        tags={names.TARGET_TAG: target, **process_tags()},
        raise_on_error=False,
    )
    return bool(result.success)


def run_reconcile(homelab: Homelab, instance: dg.DagsterInstance, target: str, listener: Listener) -> bool:
    """Hold one target against its repository; the listener hears what was found, or of the error.

    Returns whether all is as it should be.
    """
    result = reconcile_job(homelab, listener).execute_in_process(
        run_config={**_QUIET, **reconcile_config(target)},
        instance=instance,
        resources=provider_resources(homelab),
        tags={names.TARGET_TAG: target, **process_tags()},
        raise_on_error=False,
    )
    return bool(result.success)


def run_restore(homelab: Homelab, instance: dg.DagsterInstance, plan: RestorePlan, listener: Listener) -> bool:
    """Carry out a plan; the listener hears of what stands there, or of the error. Returns whether the probes passed."""
    result = restore_job(homelab, listener).execute_in_process(
        run_config={**_QUIET, **restore_config(plan)},
        instance=instance,
        resources=provider_resources(homelab),
        tags={names.TARGET_TAG: plan.snapshot.target, **process_tags()},
        raise_on_error=False,
    )
    return bool(result.success)


def test_moment(
    homelab: Homelab, instance: dg.DagsterInstance, target: str, key: str, at: datetime, listener: Listener
) -> bool:
    """Restore-test a moment after a snapshot; the listener hears of the evidence. Returns whether it passed.

    No Dagster run: it would paint the snapshot's partition green, of which a pass at a later moment proves nothing.

    Raises:
        HomelabError: the test could not be carried out.
    """
    progress = partial(listener.progress, target)
    evidence = restore_test(homelab, target, key, secrets.token_hex(8), progress, at=at)
    recompute_recovery_point(homelab, instance, target)
    listener.tested(evidence)
    return evidence.passed


def list_snapshots(homelab: Homelab, instance: dg.DagsterInstance, target: str) -> Sequence[Snapshot]:
    """What there is to test, oldest first. Where nothing is left, Dagster is told that the recovery point is gone.

    Raises:
        HomelabError: there is none.
    """
    try:
        listed = homelab.repository(target).snapshots()
    except RepositoryMissingError:
        listed = ()
    if not listed:
        recompute_recovery_point(homelab, instance, target)
        raise HomelabError("there is no snapshot to test", remedy=f"run `homelab backup run --target {target}`")
    return listed


def _execute(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    target: str,
    listener: Listener,
    key: dg.AssetKey,
    partition: str | None = None,
) -> bool:
    try:
        result = job.execute_in_process(
            run_config=_QUIET,
            instance=instance,
            asset_selection=[key],
            partition_key=partition,
            tags={names.TARGET_TAG: target, **process_tags()},
            raise_on_error=False,
        )
    except dg.DagsterError as error:
        # The graph itself refused; the op's own errors have reached the listener already.
        listener.failed(target, HomelabError(f"Dagster refused the run: {type(error).__name__}"))
        return False
    return bool(result.success)
