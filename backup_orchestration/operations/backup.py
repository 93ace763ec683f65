"""Take a snapshot of a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backup_orchestration.core.errors import ToolLiedError
from backup_orchestration.core.locks import repository_lock
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.progress import Progress, Update, silent
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations.mend import mend
from backup_orchestration.providers.base import BackupSpec
from backup_orchestration.throwaway.process import reap

# A backup waits for the one before it; a whole night is the longest that makes sense.
LOCK_SECONDS = 8 * 3600.0


@dataclass(frozen=True)
class Wish:
    """What a person may ask of a backup by an explicit word.

    Attributes:
        new_repository: start a new repository where one has vanished.
        reread: read everything anew instead of trusting what the last snapshot knew.
    """

    new_repository: bool = False
    reread: bool = False


NO_WISH = Wish()


def backup(
    homelab: Homelab,
    target: str,
    run_id: str,
    progress: Progress = silent,
    *,
    existed: bool = False,
    wish: Wish = NO_WISH,
) -> Snapshot:
    """Take a snapshot of a target, alone in its repository, and read it back.

    Args:
        homelab: the installation.
        target: full name.
        run_id: stored in the snapshot.
        progress: told of every step.
        existed: somebody remembers snapshots of this target; evidence is asked besides.
        wish: what a person asked for besides.

    Raises:
        HomelabError: nothing was stored, or what was stored does not count; see `Repository.backup`.
    """
    policy = homelab.policy(target)
    repository = homelab.repository(target)
    reap(homelab.home / "labs")  # what a killed restore test left is a copy of the data, in clear
    mend(policy, progress)
    existed = existed or bool(homelab.evidence().ledger(target, policy.destination).records)

    def waiting() -> None:
        progress(Update("waiting", message=f"{repository.location} is in use; waiting for it"))

    with repository_lock(homelab.home / "locks", repository.location, timeout=LOCK_SECONDS, on_wait=waiting):
        snapshot = repository.backup(
            BackupSpec(
                run_id,
                create=wish.new_repository or not existed,
                reread=wish.reread,
                facts=lambda: _facts(homelab, policy),
            ),
            progress,
        )
    if snapshot.run_id != run_id or snapshot.target != target:
        raise ToolLiedError(f"{policy.provider} gave a snapshot of {snapshot.target}, run {snapshot.run_id}")
    return snapshot


def _facts(homelab: Homelab, policy: BackupPolicy) -> dict[str, Any]:
    facts = {}
    for probe in policy.probes:
        kind = homelab.probes[probe.name].part
        fact = kind.record(policy, kind.options.model_validate(dict(probe.options)))
        if fact is not None:
            facts[probe.name] = fact
    return facts
