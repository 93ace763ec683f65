"""What follows by itself: a second restore test after a failed one, alerts, and an end of runs that were killed.

The backups of an application's later members as well, see `chains`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache

import dagster as dg

from backup_orchestration.core.evidence import Ledger
from backup_orchestration.core.evidence_store import EvidenceStore
from backup_orchestration.core.redaction import REDACTOR
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations.alerts import Alert, State, alerts_between, state_of
from backup_orchestration.operations.follow_up import to_test_again
from backup_orchestration.operations.known import assess_known
from backup_orchestration.operations.notify import notify
from backup_orchestration.orchestration import names
from backup_orchestration.orchestration.chains import chains_sensor
from backup_orchestration.orchestration.guard import without_secrets
from backup_orchestration.orchestration.history import failed_runs
from backup_orchestration.orchestration.pruning import prune_sensor
from backup_orchestration.orchestration.reconciling import reconcile_sensor
from backup_orchestration.orchestration.stale_runs import fail_stale_runs

Store = Callable[[], EvidenceStore]

_INTERVAL_SECONDS = 30


def sensors_of(homelab: Homelab, targets: Sequence[str]) -> list[dg.SensorDefinition]:
    """All sensors of an installation. They live as long as the code server, so what they have read is remembered."""
    store = cache(lambda: homelab.evidence(remember=True))

    def ledger_of(target: str) -> Ledger:
        return store().ledger(target, homelab.policy(target).destination)

    chains = chains_sensor(homelab, targets)
    return [
        _follow_up(homelab, targets, store),
        _alerts(homelab, targets, store),
        _dead_runs(),
        prune_sensor(homelab, targets, ledger_of),
        reconcile_sensor(targets, ledger_of),
        *([chains] if chains else []),
    ]


def _follow_up(homelab: Homelab, targets: Sequence[str], store: Store) -> dg.SensorDefinition:
    selection = dg.AssetSelection.assets(*(names.verified_key(target) for target in targets))

    @dg.sensor(
        name="test_recovery_point_again",
        asset_selection=selection,
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="After a failed restore test, tests the recovery point again: snapshots share data.",
    )
    def again(_context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest]:
        for target in targets:
            with without_secrets():
                ledger = store().ledger(target, homelab.policy(target).destination)
                last = ledger.records[-1] if ledger.records else None
                key = to_test_again(homelab, last) if last and not last.passed else None
            if last is not None and key is not None:
                yield dg.RunRequest(
                    run_key=f"again-{target}-{last.sequence}",
                    asset_selection=[names.verified_key(target)],
                    partition_key=key,
                    tags={names.TARGET_TAG: target},
                )

    return again


def _alerts(homelab: Homelab, targets: Sequence[str], store: Store) -> dg.SensorDefinition:
    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells when protection changes: transitions only, one message a tick, to the log and webhooks.",
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        with without_secrets():
            before = _before(context.cursor)
            now = _states(homelab, store(), context.instance, targets)
            found = alerts_between(before, now)
            for alert in found:
                context.log.warning(REDACTOR.clean(alert.text))
            # Raises when a notifier does not take it: the cursor stays, and the next tick tells it again.
            if found:
                notify(homelab, found)
        cursor = json.dumps({target: state.as_list() for target, state in now.items()}, sort_keys=True)
        return dg.SensorResult(cursor=cursor, skip_reason=_summary(found))

    return alerts


def _dead_runs() -> dg.SensorDefinition:
    @dg.sensor(
        name="dead_runs",
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reports runs as failed whose process is gone, so that they do not hold their place for ever.",
    )
    def dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        failed = fail_stale_runs(context.instance)
        return dg.SkipReason(f"ended {', '.join(failed)}" if failed else "every run has its process")

    return dead_runs


def _before(cursor: str | None) -> Mapping[str, State]:
    return {target: State(*state) for target, state in json.loads(cursor).items()} if cursor else {}


def _states(
    homelab: Homelab, store: EvidenceStore, instance: dg.DagsterInstance, targets: Sequence[str]
) -> Mapping[str, State]:
    failed = failed_runs(instance, targets)
    states = {}
    for target in targets:
        policy = homelab.policy(target)
        ledger = store.ledger(target, policy.destination)
        keys = instance.get_dynamic_partitions(names.partitions_name(target))
        found = assess_known(policy, keys, ledger, homelab.now())
        states[target] = state_of(found, failed[target].at if target in failed else None)
    return states


def _summary(found: Sequence[Alert]) -> dg.SkipReason:
    return dg.SkipReason(REDACTOR.clean("; ".join(alert.text for alert in found)) or "nothing has changed")
