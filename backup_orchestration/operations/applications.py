"""What is known of applications: asked of their members' repositories and of the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backup_orchestration.core.chains import ApplicationPoint, Chain, application_point, chains_of
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations.status import TargetStatus


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
