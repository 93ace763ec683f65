"""The three assets of a target, built from its policy.

gitlab/postgres                 takes a snapshot and adds its key to the target's partitions
gitlab/postgres/verified        partitioned by snapshot: restores one and probes it; green, red, missing is the ledger
gitlab/postgres/recovery_point  external, with the RPO as freshness policy: nobody can materialize it by hand
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from backup_orchestration.core.errors import RepositoryMissingError, UnknownSnapshotError
from backup_orchestration.core.evidence import Evidence
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.redaction import REDACTOR
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations.backup import NO_WISH, Wish
from backup_orchestration.operations.status import recovery_point_after
from backup_orchestration.orchestration import names
from backup_orchestration.orchestration.listener import Listener
from backup_orchestration.orchestration.recovery_point import recompute_recovery_point, report_recovery_point
from backup_orchestration.orchestration.reported import reported, teller
from backup_orchestration.orchestration.resources import provider_of
from backup_orchestration.orchestration.stale_runs import mark_run

_RETRIES = dg.RetryPolicy(max_retries=2, delay=60)

Assets = tuple[dg.AssetsDefinition, dg.AssetsDefinition, dg.AssetSpec]


def assets_of(
    homelab: Homelab,
    target: str,
    listener: Listener,
    *,
    wish: Wish = NO_WISH,
    listed: Sequence[Snapshot] | None = None,
) -> Assets:
    """Build the assets of one target.

    Args:
        homelab: the installation.
        target: full name.
        listener: hears of runs in this process.
        wish: what a person asked of backups besides.
        listed: what the repository has just listed, for a restore test in this process; default: it is asked.
    """
    policy = homelab.policy(target)
    return (
        _backup_asset(homelab, policy, listener, wish=wish),
        _verified_asset(homelab, policy, listener, listed),
        _recovery_point_asset(policy),
    )


def _backup_asset(homelab: Homelab, policy: BackupPolicy, listener: Listener, *, wish: Wish) -> dg.AssetsDefinition:
    target = policy.target
    # A person who waits at the command line decides for himself; the night tries again where that may help.
    retries = _RETRIES if type(listener) is Listener else None
    spec = dg.AssetSpec(
        names.target_key(target),
        description=policy.description or f"Snapshots of {target}, taken by {policy.provider}.",
        group_name=_group(policy),
        kinds={policy.provider, policy.source.kind},
        metadata={"cron": policy.cron, "timezone": policy.timezone, "destination": policy.destination},
    )

    @dg.multi_asset(
        name=names.op_name("backup", target),
        specs=[spec],
        required_resource_keys={names.resource_key(policy.provider)},
        pool=policy.slug,
        retry_policy=retries,
    )
    def backup(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        provider = provider_of(context.resources, policy)
        partitions = names.partitions_name(target)
        existed = bool(context.instance.get_dynamic_partitions(partitions))
        tell = teller(context, listener, target)
        started = time.monotonic()
        with reported(listener, target):
            mark_run(context.instance, context.run)
            snapshot = provider.backup(target, context.run.run_id, tell, existed=existed, wish=wish)
            context.instance.add_dynamic_partitions(partitions, [snapshot.key])
            listener.took(snapshot)
            seconds = time.monotonic() - started
            return dg.MaterializeResult(metadata=_snapshot_metadata(homelab, snapshot, seconds))

    return backup


def _verified_asset(
    homelab: Homelab, policy: BackupPolicy, listener: Listener, listed: Sequence[Snapshot] | None
) -> dg.AssetsDefinition:
    target = policy.target
    key = names.verified_key(target)
    spec = dg.AssetSpec(
        key,
        deps=[names.target_key(target)],
        description=f"Snapshots of {target} that were restored into a throwaway lab and passed their probes.",
        group_name=_group(policy),
        kinds={probe.name for probe in policy.probes},
        metadata={
            "cron": policy.restore_test.cron,
            "probes": ", ".join(probe.name for probe in policy.probes),
        },
    )

    @dg.multi_asset(
        name=names.op_name("restore_test", target),
        specs=[spec],
        check_specs=[dg.AssetCheckSpec(names.CHECK, asset=key, blocking=True)],
        partitions_def=dg.DynamicPartitionsDefinition(name=names.partitions_name(target)),
        required_resource_keys={names.resource_key(policy.provider)},
        pool=policy.slug,
    )
    def restore_test(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
        provider = provider_of(context.resources, policy)
        with reported(listener, target):
            mark_run(context.instance, context.run)
            tell, run_id = teller(context, listener, target), context.run.run_id
            try:
                before = homelab.repository(target).snapshots() if listed is None else listed
                evidence = provider.restore_test(target, context.partition_key, run_id, tell, listed=before)
            except (UnknownSnapshotError, RepositoryMissingError):
                # What has vanished may have been the recovery point.
                recompute_recovery_point(homelab, context.instance, target, run_id)
                raise
            point = recovery_point_after(homelab, evidence, before)
            report_recovery_point(context.instance, target, point, run_id)
            listener.tested(evidence)
        metadata = _evidence_metadata(evidence)
        yield dg.AssetCheckResult(
            passed=evidence.passed,
            asset_key=key,
            check_name=names.CHECK,
            metadata=metadata,
            description=evidence.reason or "restore test passed",
        )
        if not evidence.passed:
            raise dg.Failure(f"restore test failed: {evidence.reason}", metadata=metadata, allow_retries=False)
        yield dg.MaterializeResult(asset_key=key, metadata=metadata)

    return restore_test


def _recovery_point_asset(policy: BackupPolicy) -> dg.AssetSpec:
    return dg.AssetSpec(
        names.recovery_point_key(policy.target),
        deps=[names.verified_key(policy.target)],
        description=f"The newest verified snapshot of {policy.target} that exists, stamped with the age of its data.",
        group_name=_group(policy),
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=policy.effective_rpo),
    )


def _group(policy: BackupPolicy) -> str:
    return policy.service.replace("-", "_")


def _snapshot_metadata(homelab: Homelab, snapshot: Snapshot, seconds: float) -> dict[str, Any]:
    """What the asset page shows and plots; the commands restore the snapshot without this project."""
    commands = "\n".join(homelab.repository(snapshot.target).by_hand().commands(snapshot))
    return {
        "snapshot": snapshot.key,
        "snapshot_id": snapshot.snapshot_id,
        "repository": REDACTOR.clean(snapshot.repository),
        "taken_at": dg.MetadataValue.timestamp(snapshot.taken_at),
        "size_bytes": snapshot.size_bytes,
        "backup_seconds": round(seconds, 3),
        "restore_without_homelab": dg.MetadataValue.md(f"```sh\n{REDACTOR.clean_lines(commands)}\n```"),
        **dict(snapshot.counts),
    }


def _evidence_metadata(evidence: Evidence) -> dict[str, Any]:
    probes = "\n".join(
        f"| {item.name} | {'passed' if item.passed else 'FAILED'} | {item.summary.replace('|', '/')} |"
        for item in evidence.probes
    )
    return {
        "snapshot": evidence.snapshot_key,
        "evidence": evidence.sequence,
        "taken_at": dg.MetadataValue.timestamp(evidence.taken_at),
        "restore_seconds": evidence.restore_seconds,
        "bytes_read": evidence.bytes_read,
        "probes": dg.MetadataValue.md(f"| probe | result | found |\n|---|---|---|\n{probes}"),
        **dict(evidence.counts),
    }
