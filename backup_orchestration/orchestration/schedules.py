"""One schedule for each policy's restore test, and one for its backup unless that comes after another one's.

They are switched on by default. What comes after others is started by `chains`.
"""

import dagster as dg

from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.orchestration import names
from backup_orchestration.orchestration.chains import slot_tag


def schedules_of(policy: BackupPolicy) -> list[dg.ScheduleDefinition]:
    """The schedules of a policy. Their ticks look at Dagster's own storage and start nothing themselves."""
    target = policy.target
    tags = {names.TARGET_TAG: target}

    @dg.schedule(
        name=names.op_name("backup", target),
        cron_schedule=policy.cron,
        execution_timezone=policy.timezone,
        job_name=names.BACKUPS_JOB,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Takes a snapshot of {target}.",
    )
    def backup(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        slot = slot_tag(context.scheduled_execution_time)
        return dg.RunRequest(asset_selection=[names.target_key(target)], tags={**tags, **slot})

    @dg.schedule(
        name=names.op_name("restore_test", target),
        cron_schedule=policy.restore_test.cron,
        execution_timezone=policy.timezone,
        job_name=names.ALL_ASSETS_JOB,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Restores the newest snapshot of {target} into a throwaway lab and probes it.",
    )
    def restore_test(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        keys = context.instance.get_dynamic_partitions(names.partitions_name(target))
        if not keys:
            return dg.SkipReason("there is no snapshot to test yet")
        return dg.RunRequest(asset_selection=[names.verified_key(target)], partition_key=max(keys), tags=tags)

    return [restore_test] if policy.after else [backup, restore_test]
