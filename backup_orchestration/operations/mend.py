"""What a killed restore over the source has left beside it is brought to an end by whoever comes next."""

from __future__ import annotations

from collections.abc import Sequence

from backup_orchestration.core import replaced
from backup_orchestration.core.partial import sweep
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.progress import Progress, Update, silent
from backup_orchestration.core.replaced import Outcome, Replacement
from backup_orchestration.core.sources import Files
from backup_orchestration.operations.in_place import source_place


def mend(policy: BackupPolicy, progress: Progress = silent) -> Sequence[tuple[Replacement, Outcome]]:
    """Bring to an end what killed restores over the source of a target have begun; returns what became of each.

    Raises:
        StateError: something else has come to the place meanwhile, or what was there cannot be put back; it lies where
            the message says.
    """
    if not isinstance(policy.source, Files):
        return ()
    place = source_place(policy)
    found: list[tuple[Replacement, Outcome]] = []
    for item in replaced.replacements(place):
        if item.done:
            continue
        outcome = replaced.settle(item)
        if outcome is Outcome.STRANGER:
            raise replaced.stranger(item)
        if outcome is not Outcome.WORKING:
            progress(Update("mend", message=f"a killed restore over {place}: {outcome.value}"))
        found.append((item, outcome))
    if found:
        sweep(place)
    return found
