"""What things are called in Dagster."""

from __future__ import annotations

import dagster as dg

CHECK = "restore_test"
BACKUPS_JOB = "backups"
PRUNE_JOB = "prune"
RESTORE_JOB = "restore"
RECONCILE_JOB = "reconcile"
ALL_ASSETS_JOB = "__ASSET_JOB"  # the one Dagster makes: it alone holds assets of different partitions
TARGET_TAG = "homelab/target"
SLOT_TAG = "homelab/slot"  # of a run that its cron started: the moment it was due, UTC


def target_key(target: str) -> dg.AssetKey:
    """`gitlab/postgres`."""
    return dg.AssetKey(target.split("/"))


def verified_key(target: str) -> dg.AssetKey:
    """`gitlab/postgres/verified`."""
    return dg.AssetKey([*target.split("/"), "verified"])


def recovery_point_key(target: str) -> dg.AssetKey:
    """`gitlab/postgres/recovery_point`."""
    return dg.AssetKey([*target.split("/"), "recovery_point"])


def resource_key(provider: str) -> str:
    """`provider_minio_mirror`. A provider's name may have dashes and begin with a digit, a resource's may not."""
    return f"provider_{provider.replace('-', '_')}"


def partitions_name(target: str) -> str:
    """Name of the dynamic partitions that hold the target's snapshot keys."""
    return target


def op_name(verb: str, target: str) -> str:
    """`backup__gitlab__postgres`. Targets have no underscore and no double dash: the name is one of a kind."""
    return f"{verb}__{target.replace('/', '__').replace('-', '_')}"
