"""Which targets a command is about."""

from __future__ import annotations

from collections.abc import Sequence

from backup_orchestration.core.errors import UsageError
from backup_orchestration.homelab.load import Homelab


def chosen(homelab: Homelab, targets: Sequence[str], *, everything: bool) -> list[str]:
    """Full names of the targets asked for, each once.

    Raises:
        UsageError: nothing was asked for, or both.
        UnknownTargetError: there is no such target.
    """
    if everything and targets:
        raise UsageError("--all and --target exclude each other", remedy="leave one away")
    if not homelab.policies:
        raise UsageError(f"{homelab.path} declares no policy", remedy="name a contributor in it")
    if everything:
        return list(homelab.policies)
    if not targets:
        raise UsageError("nothing was asked for", remedy="name --target, or say --all")
    return list(dict.fromkeys(homelab.resolve(word) for word in targets))


def chosen_or_all(homelab: Homelab, targets: Sequence[str]) -> list[str]:
    """As `chosen`, for commands that only look: all targets if none is named."""
    return chosen(homelab, targets, everything=not targets)
