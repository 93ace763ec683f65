"""The recovery point as Dagster shows it: a materialization stamped with the age of the data.

Dagster's freshness reads the timestamp of the latest materialization and nothing else. So the recovery point is
reported with its snapshot's own `taken_at`, and reported anew whenever it may have changed, also to an older one.
While a target is suspect its point is void: it is stamped older than any RPO, until it has passed a test again.
Stamping an event is not public API: it is done here and nowhere else, and `test_recovery_point.py` holds it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster._core.definitions.events import AssetMaterialization
from dagster._core.events import DagsterEvent, DagsterEventType, StepMaterializationData

from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations.status import judge
from backup_orchestration.orchestration import names

# The job name by which these reports are told from those of a person.
REPORTER = "recompute_recovery_point"

# Older than any RPO: the recovery point of a target of which nothing is verified any more, or is void.
_NEVER = datetime(1970, 1, 2, tzinfo=UTC)


def recompute_recovery_point(homelab: Homelab, instance: dg.DagsterInstance, target: str, run_id: str = "") -> None:
    """Look which snapshot is the recovery point of a target now, and report it.

    Raises:
        HomelabError: its repository or its evidence cannot be read; nothing was reported.
    """
    report_recovery_point(instance, target, judge(homelab, target).standing_point, run_id)


def shown_recovery_point(instance: dg.DagsterInstance, target: str) -> str | None:
    """Key of what was reported here last, or `none`; None where nothing was, or a person reported something since."""
    event = instance.get_latest_materialization_event(names.recovery_point_key(target))
    materialization = event.asset_materialization if event and event.job_name == REPORTER else None
    return str(materialization.metadata["snapshot"].value) if materialization else None


def report_recovery_point(instance: dg.DagsterInstance, target: str, point: Snapshot | None, run_id: str) -> None:
    """Report the recovery point of a target as it is now.

    Args:
        instance: where it is reported.
        target: full name.
        point: newest verified snapshot that exists, or None.
        run_id: of the run that found it.
    """
    metadata: dict[str, Any] = {"snapshot": point.key if point else "none"}
    if point:
        metadata["taken_at"] = dg.MetadataValue.timestamp(point.taken_at)
    materialization = AssetMaterialization(
        asset_key=names.recovery_point_key(target),
        description=f"recovery point {point.key}" if point else "no verified snapshot that is not suspect",
        metadata=metadata,
    )
    event = DagsterEvent(
        event_type_value=DagsterEventType.ASSET_MATERIALIZATION.value,
        event_specific_data=StepMaterializationData(materialization),
        job_name=REPORTER,
    )
    taken_at = point.taken_at if point else _NEVER
    instance.report_dagster_event(event, run_id=run_id, timestamp=taken_at.timestamp())
