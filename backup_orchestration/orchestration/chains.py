"""Members of one application that are due in the same night are backed up one after the other.

A night begins with a slot of the application's first member, which has a schedule of its own, and lasts twelve hours,
or until that member's next slot. The others have no backup schedule: a sensor looks twice a minute at which of them
are due, and starts each when the one before it has ended. All it goes by is what Dagster keeps: runs and the slots
that they are tagged with, and in the cursor since when a member is known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

# Dagster's schedules come by it: the same moments, also where clocks are set forward or back.
from dagster._utils.schedules import cron_string_iterator, reverse_cron_string_iterator

from backup_orchestration.core.chains import way_of
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.orchestration import names

_NIGHT = timedelta(hours=12)
# The first member's schedule may be switched off; after this, the others do not wait for it any longer.
_BEGINS_WITHIN = timedelta(hours=1)
_INTERVAL_SECONDS = 30


def slot_tag(slot: datetime) -> Mapping[str, str]:
    """Tag of a run that was started for this slot."""
    return {names.SLOT_TAG: slot.astimezone(UTC).isoformat()}


def chains_sensor(homelab: Homelab, targets: Sequence[str]) -> dg.SensorDefinition | None:
    """The sensor that starts the backups of members that come after others; None if there are none."""
    policies = {target: found.part for target, found in homelab.policies.items()}
    members = [target for target in targets if policies[target].after is not None]
    if not members:
        return None

    @dg.sensor(
        name="chains",
        job_name=names.BACKUPS_JOB,
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Takes the snapshots of targets that come after others, when those have ended.",
    )
    def chains(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now = homelab.now()
        known = _known(context.cursor, {target: policies[target] for target in members}, now)
        looked = _Look(context.instance, policies, {target: since for target, (_, since) in known.items()}, now)
        requests, waiting = [], []
        for target in members:
            slot = looked.due(target)
            if slot is None:
                continue
            wait = looked.waits(target, slot)
            if wait is None:
                tags = {names.TARGET_TAG: target, **slot_tag(slot)}
                key = f"{target} {slot.isoformat()}"
                requests.append(dg.RunRequest(key, asset_selection=[names.target_key(target)], tags=tags))
            else:
                waiting.append(f"{target} waits: {wait}")
        skip = None if requests else dg.SkipReason("; ".join(waiting) or "nothing is due")
        return dg.SensorResult(run_requests=requests, cursor=json.dumps(known), skip_reason=skip)

    return chains


def _known(cursor: str | None, policies: Mapping[str, BackupPolicy], now: datetime) -> dict[str, tuple[str, str]]:
    """Of each member its cron, and since when it is known with that: a slot before then is not made up for."""
    before = json.loads(cursor) if cursor else {}
    known = {}
    for target, policy in policies.items():
        cron = f"{policy.cron} {policy.timezone}"
        same = before.get(target, [None])[0] == cron
        known[target] = (cron, before[target][1] if same else now.isoformat())
    return known


@dataclass(frozen=True)
class _Look:
    """One look at what is due."""

    instance: dg.DagsterInstance
    policies: Mapping[str, BackupPolicy]
    since: Mapping[str, str]
    now: datetime

    def due(self, target: str) -> datetime | None:
        """The target's last slot, if nobody has started a run for it; older ones are not made up for."""
        slot = self._slot_before(target, self.now)
        if slot <= datetime.fromisoformat(self.since[target]):
            return None
        started = dg.RunsFilter(tags={names.TARGET_TAG: target, **slot_tag(slot)})
        return None if self.instance.get_runs(started, limit=1) else slot

    def waits(self, target: str, slot: datetime) -> str | None:
        """What this target's run for a slot still waits for; None: nothing, or nothing any longer."""
        found = self._awaited(target, slot)
        if found is None:
            return None
        before, its_slot = found
        if its_slot > self.now:
            return f"{before} is due in the same night"
        run = self._run_since(before, its_slot)
        if run is not None:
            return None if run.is_finished else f"the backup of {before} has not ended"
        if self.policies[before].after is None:
            late = self.now >= max(slot, its_slot) + _BEGINS_WITHIN
            return None if late else f"the backup of {before} has not begun"
        its_due = self.due(before)
        return None if its_due is None else self.waits(before, its_due) or f"the backup of {before} begins now"

    def _awaited(self, target: str, slot: datetime) -> tuple[str, datetime] | None:
        """The member before this one that is due in the same night, with its slot there."""
        way = way_of({name: policy.after for name, policy in self.policies.items()}, target)
        start = self._slot_before(way[-1], slot)
        end = min(start + _NIGHT, self._slots_from(way[-1], start, 2)[1])
        for before in way[1:] if slot < end else ():
            in_time = self._slot_before(before, slot)
            its_slot = in_time if in_time >= start else self._slots_from(before, start, 1)[0]
            if its_slot < end:
                return before, its_slot
        return None

    def _run_since(self, target: str, slot: datetime) -> dg.DagsterRun | None:
        """The run that was started for this slot, or for the next one that was not left out; the last one of it."""
        runs = self.instance.get_runs(dg.RunsFilter(tags={names.TARGET_TAG: target}, created_after=slot))
        slots = {run.run_id: run.tags[names.SLOT_TAG] for run in runs if names.SLOT_TAG in run.tags}
        first = min((found for found in slots.values() if datetime.fromisoformat(found) >= slot), default=None)
        return next((run for run in runs if slots.get(run.run_id) == first), None) if first else None

    def _slot_before(self, target: str, moment: datetime) -> datetime:
        """The last slot of a target that is not after the moment."""
        policy = self.policies[target]
        return next(reverse_cron_string_iterator(moment.timestamp(), policy.cron, policy.timezone)).astimezone(UTC)

    def _slots_from(self, target: str, moment: datetime, count: int) -> list[datetime]:
        """Slots of a target from the moment on, one at the moment included."""
        policy = self.policies[target]
        slots = cron_string_iterator(moment.timestamp(), policy.cron, policy.timezone)
        return [next(slots).astimezone(UTC) for _ in range(count)]
