"""The job that applies retention to one target, and what starts it by itself."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dagster as dg

from backup_orchestration.core.evidence import Ledger
from backup_orchestration.core.redaction import REDACTOR
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations.prune import Pruning, would_remove
from backup_orchestration.orchestration import names
from backup_orchestration.orchestration.guard import without_secrets
from backup_orchestration.orchestration.listener import Listener
from backup_orchestration.orchestration.reported import reported, teller
from backup_orchestration.orchestration.resources import provider_of
from backup_orchestration.orchestration.stale_runs import mark_run

_OP = "apply_retention"
# Once a day, also where nothing was verified: what a killed pruning left undone is brought to its end.
_CRON = "0 7 * * *"


class PruneConfig(dg.Config):
    """What is pruned.

    Attributes:
        target: `<service>/<name>`.
        force: how many snapshots may go, where that is more than half of them.
    """

    target: str
    force: int | None = None


def prune_config(target: str, force: int | None = None) -> dict[str, Any]:
    """Run configuration of the job."""
    return {"ops": {_OP: {"config": {"target": target, "force": force}}}}


def prune_job(homelab: Homelab, listener: Listener) -> dg.JobDefinition:
    """The job: one for all targets, because jobs are dear."""

    @dg.op(
        name=_OP,
        out=dg.Out(dg.Nothing),
        required_resource_keys=set(map(names.resource_key, homelab.providers)),
        description="Removes what the target's retention does not keep. What is kept and why is its metadata.",
    )
    def prune(context: dg.OpExecutionContext, config: PruneConfig) -> None:
        with reported(listener, config.target):
            mark_run(context.instance, context.run)
            policy = homelab.policy(config.target)
            provider = provider_of(context.resources, policy)
            tell = teller(context, listener, policy.target)
            done = provider.prune(policy.target, context.run.run_id, tell, force=config.force, shown=listener.planned)
            for snapshot in done.report.removed if done.report else ():
                context.instance.delete_dynamic_partition(names.partitions_name(policy.target), snapshot.key)
            listener.pruned(done)
        context.add_output_metadata(_metadata(done))

    @dg.job(name=names.PRUNE_JOB, description="Applies the retention of one target.")
    def job() -> None:
        prune()

    return job


def prune_sensor(homelab: Homelab, targets: Sequence[str], ledger_of: Callable[[str], Ledger]) -> dg.SensorDefinition:
    """Plans after each newly verified snapshot, by what is remembered; a run is asked for where something would go."""

    @dg.sensor(
        name="retention",
        job_name=names.PRUNE_JOB,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="After each newly verified snapshot, plans retention, and prunes where something is to go.",
    )
    def retention(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        seen: dict[str, int] = json.loads(context.cursor) if context.cursor else {}
        requests = []
        for target in targets:
            policy = homelab.policy(target)
            with without_secrets():
                ledger = ledger_of(target)
            last = _last_pass(ledger)
            if last <= seen.get(target, 0):
                continue
            seen[target] = last
            keys = context.instance.get_dynamic_partitions(names.partitions_name(target))
            if would_remove(policy, keys, ledger, homelab.now()):
                requests.append(_request(target, f"retention-{target}-{last}"))
        return dg.SensorResult(run_requests=requests, cursor=json.dumps(seen, sort_keys=True))

    return retention


def prune_schedule(targets: Sequence[str]) -> dg.ScheduleDefinition:
    """Prunes every target that has snapshots, once a day."""

    @dg.schedule(
        name="retention_daily",
        cron_schedule=_CRON,
        execution_timezone="UTC",
        job_name=names.PRUNE_JOB,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Applies the retention of every target that has snapshots.",
    )
    def daily(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        for target in targets:
            if context.instance.get_dynamic_partitions(names.partitions_name(target)):
                yield _request(target, None)

    return daily


def _request(target: str, run_key: str | None) -> dg.RunRequest:
    return dg.RunRequest(run_key=run_key, run_config=prune_config(target), tags={names.TARGET_TAG: target})


def _last_pass(ledger: Ledger) -> int:
    return max((record.sequence for record in ledger.records if record.passed and record.at is None), default=0)


def _metadata(done: Pruning) -> dict[str, Any]:
    plan = done.plan
    rows = "\n".join(
        f"| {item.snapshot.key} | {'kept' if item.keep else 'removed'} | {', '.join(item.reasons)} |"
        for item in plan.decisions
    )
    return {
        "target": plan.target,
        "kept": len(plan.kept),
        "removed": len(plan.removed) if done.report else 0,
        "halted": REDACTOR.clean("; ".join(plan.halted)) or "no",
        "decisions": dg.MetadataValue.md(f"| snapshot | | why |\n|---|---|---|\n{rows}"),
    }
