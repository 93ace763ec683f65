"""What is known of applications: asked of their members' repositories and of the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backup_orchestration.core.chains import ApplicationPoint, Chain, application_point, chains_of
from backup_orchestration.core.errors import HomelabError
from backup_orchestration.core.status import Assessment
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations.status import TargetStatus, judge


def applications_of(homelab: Homelab) -> list[Chain]:
    """The applications that the policies declare by `after`."""
    return chains_of(homelab.after)


def points(chains: Sequence[Chain], found: Sequence[TargetStatus]) -> list[ApplicationPoint]:
    """The recovery point of each application all of whose members were judged.

    A suspect member has no snapshot that counts: its pass is void until it has passed again.
    """
    judged = {item.target: item for item in found}
    return [_point(chain, judged) for chain in chains if set(chain.members) <= set(judged)]


def _point(chain: Chain, judged: Mapping[str, TargetStatus]) -> ApplicationPoint:
    known = {target: judged[target].assessment for target in chain.members}
    return application_point(chain, {target: found.standing for target, found in known.items() if found})


def needed(homelab: Homelab, target: str, own: Assessment) -> tuple[Mapping[str, str], Sequence[str]]:
    """What retention must leave of a target for its application's sake.

    While another member cannot be judged, is suspect, or has lost what was verified, nobody knows which set will be
    needed: nothing may go then.

    Args:
        homelab: the installation.
        target: full name.
        own: what is known of it.

    Returns:
        Why snapshots must stay, by id; and why nothing at all may go.
    """
    chain = next((chain for chain in applications_of(homelab) if target in chain.members), None)
    if chain is None:
        return {}, ()
    try:
        known = {member: own if member == target else judge(homelab, member) for member in chain.members}
    except HomelabError as error:
        return {}, (f"the recovery point of the application {chain.name} is not known: {error.message}",)
    unsettled = [member for member, found in known.items() if found.last_test and not found.standing]
    if unsettled:
        return {}, (f"{', '.join(unsettled)} of the same application has no verified snapshot that counts any more",)
    point = application_point(chain, {member: found.standing for member, found in known.items()})
    why = f"recovery point of the application {chain.name}"
    return {item.snapshot_id: why for item in point.snapshots if item.target == target}, ()
