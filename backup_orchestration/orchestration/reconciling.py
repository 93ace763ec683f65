"""The job that holds what Dagster and the evidence remember of one target against its repository.

Partitions follow the repository: what is listed gets one, what retention removed loses it, and what vanished keeps it
and is marked by an observation. What is verified by evidence and not shown, as in a new Dagster home, is shown again.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dagster as dg

from backup_orchestration.core.errors import RepositoryMissingError
from backup_orchestration.core.evidence import Evidence, Ledger, Note
from backup_orchestration.core.redaction import REDACTOR
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations.known import gone
from backup_orchestration.operations.reconcile import Reconciliation, lost_lines
from backup_orchestration.operations.reconcile import reconcile as operation
from backup_orchestration.orchestration import names
from backup_orchestration.orchestration.evidence_metadata import evidence_metadata
from backup_orchestration.orchestration.guard import without_secrets
from backup_orchestration.orchestration.instance import has_storage, open_instance
from backup_orchestration.orchestration.ledger import contradictions_in
from backup_orchestration.orchestration.listener import Listener
from backup_orchestration.orchestration.recovery_point import report_recovery_point, shown_recovery_point
from backup_orchestration.orchestration.reported import reported
from backup_orchestration.orchestration.resources import provider_of
from backup_orchestration.orchestration.stale_runs import mark_run

_OP = "hold_against_repository"
# Before retention, which is at seven: what vanished is known then.
_CRON = "30 6 * * *"


class ReconcileConfig(dg.Config):
    """What is held against its repository.

    Attributes:
        target: `<service>/<name>`.
    """

    target: str


def reconcile_config(target: str) -> dict[str, Any]:
    """Run configuration of the job."""
    return {"ops": {_OP: {"config": {"target": target}}}}


def reconcile_job(homelab: Homelab, listener: Listener) -> dg.JobDefinition:
    """The job: one for all targets, because jobs are dear."""

    @dg.op(
        name=_OP,
        out=dg.Out(dg.Nothing),
        required_resource_keys=set(map(names.resource_key, homelab.providers)),
        description="Lets partitions follow the repository. Fails where something vanished, changed or contradicts.",
    )
    def hold(context: dg.OpExecutionContext, config: ReconcileConfig) -> None:
        instance = context.instance
        with reported(listener, config.target):
            mark_run(instance, context.run)
            policy = homelab.policy(config.target)
            remembered = instance.get_dynamic_partitions(names.partitions_name(policy.target))
            try:
                done = provider_of(context.resources, policy).reconcile(policy.target, remembered, context.run.run_id)
            except RepositoryMissingError:  # as `status` says: what is not there protects nobody
                _let_point_follow(context, policy.target, None, tested=False)
                raise
            _let_follow(context, done)
            shown = [item.text for item in contradictions_in(instance, policy.target, done.found)]
            listener.reconciled(done, shown)
        wrong = [REDACTOR.clean(line) for line in (*lost_lines(done), *shown)]
        if wrong:
            raise dg.Failure("; ".join(wrong), metadata=_metadata(done, wrong), allow_retries=False)
        context.add_output_metadata(_metadata(done, wrong))

    @dg.job(name=names.RECONCILE_JOB, description="Holds what is remembered of one target against its repository.")
    def job() -> None:
        hold()

    return job


def planned(homelab: Homelab, target: str) -> tuple[Reconciliation, Sequence[str]]:
    """What the job would find now, and what Dagster shows that evidence does not bear out; touches nothing.

    Raises:
        HomelabError: as `operations.reconcile`.
    """
    if not has_storage(homelab):
        return operation(homelab, target, (), "", only_plan=True), ()
    with open_instance(homelab) as instance:
        remembered = instance.get_dynamic_partitions(names.partitions_name(target))
        found = operation(homelab, target, remembered, "", only_plan=True)
        return found, [item.text for item in contradictions_in(instance, target, found.found)]


def reconcile_schedule(targets: Sequence[str]) -> dg.ScheduleDefinition:
    """Holds every target against its repository, once a day."""

    @dg.schedule(
        name="reconcile_daily",
        cron_schedule=_CRON,
        execution_timezone="UTC",
        job_name=names.RECONCILE_JOB,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Holds what is remembered of every target against its repository.",
    )
    def daily(_context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        for target in targets:
            yield _request(target, None)

    return daily


def reconcile_sensor(targets: Sequence[str], ledger_of: Callable[[str], Ledger]) -> dg.SensorDefinition:
    """Asks for a run where evidence speaks of snapshots that have no partition, as in a new Dagster home."""

    @dg.sensor(
        name="reconcile",
        job_name=names.RECONCILE_JOB,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Where evidence speaks of snapshots without a partition, holds the target against its repository.",
    )
    def unknown(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        asked: dict[str, int] = json.loads(context.cursor) if context.cursor else {}
        requests = []
        for target in targets:
            with without_secrets():
                ledger = ledger_of(target)
            newest: list[Evidence | Note] = [*ledger.records[-1:], *ledger.notes[-1:]]
            last = max((item.sequence for item in newest), default=0)
            # Again only where something was written since: a repository that is not there stays so for a while.
            if last == asked.get(target, 0):
                continue
            asked[target] = last
            partitions = context.instance.get_dynamic_partitions(names.partitions_name(target))
            if {*ledger.last_tests} - gone(ledger) - {*partitions}:
                requests.append(_request(target, f"reconcile-{target}-{last}"))
        return dg.SensorResult(run_requests=requests, cursor=json.dumps(asked, sort_keys=True))

    return unknown


def _let_follow(context: dg.OpExecutionContext, done: Reconciliation) -> None:
    instance, partitions = context.instance, names.partitions_name(done.target)
    verified = names.verified_key(done.target)
    if done.add:
        instance.add_dynamic_partitions(partitions, list(done.add))
    for key in done.drop:
        instance.delete_dynamic_partition(partitions, key)
    for item in done.findings:
        mark = {"snapshot": item.key, "state": item.what.value, "found": REDACTOR.clean(item.reason)}
        context.log_event(dg.AssetObservation(verified, partition=item.key, metadata=mark))
    shown = instance.get_materialized_partitions(verified)
    for snapshot in reversed(done.verified):
        if snapshot.key not in shown:
            metadata = evidence_metadata(done.tests[snapshot.key])
            context.log_event(dg.AssetMaterialization(verified, partition=snapshot.key, metadata=metadata))
    _let_point_follow(context, done.target, done.found.standing_point, tested=bool(done.tests))


def _let_point_follow(context: dg.OpExecutionContext, target: str, point: Snapshot | None, *, tested: bool) -> None:
    shown = shown_recovery_point(context.instance, target)
    if shown != (point.key if point else "none") and (shown or tested):
        report_recovery_point(context.instance, target, point, context.run.run_id)


def _request(target: str, run_key: str | None) -> dg.RunRequest:
    return dg.RunRequest(run_key=run_key, run_config=reconcile_config(target), tags={names.TARGET_TAG: target})


def _metadata(done: Reconciliation, wrong: Sequence[str]) -> dict[str, Any]:
    return {
        "target": done.target,
        "snapshots": len(done.found.snapshots),
        "verified": len(done.verified),
        "partitions_added": len(done.add),
        "partitions_removed": len(done.drop),
        "wrong": dg.MetadataValue.md("\n".join(f"- {line}" for line in wrong) or "nothing"),
    }
