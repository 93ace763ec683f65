"""What only Dagster remembers: runs that failed. Never what is protected; that is evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from backup_orchestration.homelab.load import Homelab
from backup_orchestration.orchestration import names
from backup_orchestration.orchestration.instance import has_storage, open_instance
from backup_orchestration.orchestration.stale_runs import stale_runs

_LOOKED_AT = 500


@dataclass(frozen=True)
class FailedRun:
    """The last backup run of a target that failed."""

    at: datetime
    run_id: str


def failed_backups(homelab: Homelab, targets: Sequence[str]) -> Mapping[str, FailedRun]:
    """The newest failed backup run of each target, where there is one; empty without a Dagster home."""
    if not has_storage(homelab):
        return {}
    with open_instance(homelab) as instance:
        return failed_runs(instance, targets)


def failed_runs(instance: dg.DagsterInstance, targets: Sequence[str]) -> Mapping[str, FailedRun]:
    """As `failed_backups`, of an open instance."""
    keys = {names.target_key(target): target for target in targets}
    failed: dict[str, FailedRun] = {}
    statuses = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    ended = instance.get_run_records(dg.RunsFilter(statuses=statuses), limit=_LOOKED_AT)
    # No command has reported these as failed yet.
    records = [*stale_runs(instance), *ended]
    for record in records:
        for key in record.dagster_run.asset_selection or ():
            target = keys.get(key)
            if target is not None and target not in failed:
                at = record.end_time or record.update_timestamp.timestamp()
                failed[target] = FailedRun(datetime.fromtimestamp(at, UTC), record.dagster_run.run_id)
    return failed
