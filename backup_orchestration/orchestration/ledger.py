"""The ledger: what Dagster shows of each snapshot, held against the evidence.

Dagster's green is a projection. Anybody who reaches its page can report a materialization by hand, and evidence can
be lost after a run that was green. Neither makes a snapshot verified; here both are named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from backup_orchestration.core.snapshot import rfc3339
from backup_orchestration.core.status import Assessment, Verdict
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations.status import judge
from backup_orchestration.orchestration import names
from backup_orchestration.orchestration.instance import has_storage, open_instance
from backup_orchestration.orchestration.recovery_point import REPORTER

_PAGE = 1000


@dataclass(frozen=True)
class Contradiction:
    """Something that Dagster shows and that is not so.

    Attributes:
        asset: `gitlab/config/verified`.
        key: snapshot key, or empty where the asset as a whole is meant.
        shown: what Dagster shows and what speaks against it.
    """

    asset: str
    key: str
    shown: str

    @property
    def text(self) -> str:
        """One line."""
        return f"{self.asset}: {f'{self.key}: ' if self.key else ''}{self.shown}"


def contradictions(homelab: Homelab, target: str) -> list[Contradiction]:
    """Everything that Dagster shows of a target and that evidence does not bear out.

    Raises:
        HomelabError: the repository or the evidence cannot be read.
    """
    if not has_storage(homelab):
        return []
    with open_instance(homelab) as instance:
        return contradictions_in(instance, target, judge(homelab, target))


def contradictions_in(instance: dg.DagsterInstance, target: str, found: Assessment) -> list[Contradiction]:
    """As `contradictions`, of an open instance and a target that was judged already."""
    return [
        *_of_backups(instance, target),
        *_of_restore_tests(instance, target, found),
        *_of_recovery_point(instance, target, found),
    ]


def _of_backups(instance: dg.DagsterInstance, target: str) -> Iterator[Contradiction]:
    """A backup without a run was reported by hand. Those of runs may be of snapshots that are pruned by now."""
    for event in _newest(instance, names.target_key(target)).values():
        if not event.run_id:
            yield Contradiction(target, "", f"a backup {_by_hand(event)}; nothing was stored by it")


def _of_restore_tests(instance: dg.DagsterInstance, target: str, found: Assessment) -> Iterator[Contradiction]:
    asset = names.verified_key(target).to_user_string()
    for key, event in sorted(_newest(instance, names.verified_key(target)).items()):
        verdict = found.verdicts.get(key)
        if not event.run_id:
            known = f"by evidence it is {verdict}" if verdict else "the repository has no such snapshot"
            yield Contradiction(asset, key, f"a restore test {_by_hand(event)}; {known}")
        elif verdict is Verdict.UNTESTED:
            yield Contradiction(
                asset, key, f"run {event.run_id} shows a passed restore test of which no evidence counts"
            )


def _of_recovery_point(instance: dg.DagsterInstance, target: str, found: Assessment) -> Iterator[Contradiction]:
    asset = names.recovery_point_key(target).to_user_string()
    event = instance.get_latest_materialization_event(names.recovery_point_key(target))
    if event is None:
        return
    point = found.standing_point
    real = f"the recovery point is {point.key}" if point else "there is no recovery point"
    if event.job_name != REPORTER:
        yield Contradiction(asset, "", f"a recovery point {_by_hand(event)}; {real}")
        return
    materialization = event.asset_materialization
    shown = str(materialization.metadata["snapshot"].value) if materialization else "none"
    if shown != (point.key if point else "none"):
        yield Contradiction(asset, "", f"it shows {shown}; {real}")


def _newest(instance: dg.DagsterInstance, key: dg.AssetKey) -> Mapping[str, dg.EventLogEntry]:
    """The newest materialization of each partition; of an asset without partitions under an empty key."""
    newest: dict[str, dg.EventLogEntry] = {}
    cursor = None
    while True:
        page = instance.fetch_materializations(key, limit=_PAGE, cursor=cursor)
        for record in page.records:
            newest.setdefault(record.partition_key or "", record.event_log_entry)
        if not page.has_more:
            return newest
        cursor = page.cursor


def _by_hand(event: dg.EventLogEntry) -> str:
    return f"was reported by hand at {rfc3339(datetime.fromtimestamp(event.timestamp, UTC))}"
