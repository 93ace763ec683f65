"""What is known of a target: asked of its repository and of the evidence, never of Dagster."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from backup_orchestration.core.errors import HomelabError, RepositoryMissingError
from backup_orchestration.core.evidence import Evidence
from backup_orchestration.core.redaction import REDACTOR
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.core.status import Assessment, Protection, assess
from backup_orchestration.homelab.load import Homelab

_PARALLEL = 4


@dataclass(frozen=True)
class TargetStatus:
    """One target.

    Attributes:
        target: full name.
        assessment: None when the repository or the evidence could not be read.
        error: why not; empty otherwise.
        health: of what feeds the repository between backups, see `Repository.health`.
    """

    target: str
    assessment: Assessment | None
    error: str = ""
    health: tuple[str, ...] = ()

    @property
    def protection(self) -> Protection:
        """What cannot be read protects nobody."""
        return self.assessment.protection if self.assessment else Protection.SUSPECT

    @property
    def reason(self) -> str:
        """For people."""
        known = self.assessment.reason if self.assessment else self.error
        return "; ".join(filter(None, (known, *self.health)))


def judge(homelab: Homelab, target: str, listed: Sequence[Snapshot] | None = None) -> Assessment:
    """Judge one target.

    Args:
        homelab: the installation.
        target: full name.
        listed: what its repository lists; default: it is asked.

    Raises:
        HomelabError: its repository or its evidence cannot be read.
    """
    policy = homelab.policy(target)
    ledger = homelab.evidence().ledger(target, policy.destination)
    missing = False
    snapshots: Sequence[Snapshot] = ()
    try:
        snapshots = homelab.repository(target).snapshots() if listed is None else listed
    except RepositoryMissingError:
        missing = True
    found = assess(snapshots, ledger, policy.effective_rpo, homelab.now())
    if missing and ledger.records:
        reason = f"the repository is gone; {len(ledger.records)} restore tests speak of it; {found.reason}"
        return replace(found, reason=reason)
    return found


def recovery_point_after(homelab: Homelab, tested: Evidence, listed: Sequence[Snapshot]) -> Snapshot | None:
    """The recovery point after a restore test; none while the target is suspect.

    What was restored whole a moment ago exists: where that is the recovery point, the repository is not asked again,
    which costs half a second. Any other one may have vanished meanwhile.

    Args:
        homelab: the installation.
        tested: the evidence of that test, as it was stored.
        listed: what the repository listed before it.

    Raises:
        HomelabError: as `judge`.
    """
    if tested.passed:
        point = judge(homelab, tested.target, listed).standing_point
        if point is not None and point.key == tested.snapshot_key:
            return point
    return judge(homelab, tested.target).standing_point


def status_of(homelab: Homelab, target: str) -> TargetStatus:
    """Judge one target; what cannot be read is said, not raised, so that the others are still shown."""
    try:
        found = TargetStatus(target, judge(homelab, target))
    except HomelabError as error:
        found = TargetStatus(target, None, str(error))
    except Exception as error:  # noqa: BLE001 - a provider of somebody else's may raise anything
        found = TargetStatus(target, None, _text(error))
    return replace(found, health=_health(homelab, target))


def _health(homelab: Homelab, target: str) -> tuple[str, ...]:
    try:
        return tuple(map(REDACTOR.clean, homelab.repository(target).health()))
    except Exception as error:  # noqa: BLE001 - as above
        return (_text(error),)


def _text(error: Exception) -> str:
    return REDACTOR.clean(f"{type(error).__name__}: {error}")


def status(homelab: Homelab, targets: Sequence[str]) -> list[TargetStatus]:
    """Judge several targets, a few at a time, in the order given."""
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return list(pool.map(lambda target: status_of(homelab, target), targets))
