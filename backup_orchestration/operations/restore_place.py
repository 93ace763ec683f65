"""The directory that a restore fills, and what it must keep away from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backup_orchestration.core.errors import UsageError
from backup_orchestration.core.places import Directory
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.homelab.load import Homelab

_RESTORES = "restores"


def directory_place(homelab: Homelab, snapshot: Snapshot, to: Path | None) -> Path:
    """Where to, checked against everything that a restore must keep away from; `to` None: a directory below `home`.

    Raises:
        UsageError: names the place and what it lies in.
    """
    if to is None:
        return homelab.home / _RESTORES / f"{snapshot.target.replace('/', '-')}-{snapshot.key}"
    place = to.expanduser().absolute().resolve()
    if not str(place).isprintable():
        raise UsageError(f"--to: {str(place)!r} holds what cannot be shown", remedy="choose another name")
    if place == Path("/"):
        raise UsageError("--to: / is the whole machine", remedy="name a directory that is new or empty")
    for what, kept in kept_away(homelab):
        if place.is_relative_to(kept):
            raise UsageError(f"--to: {place} lies in {what}, {kept}", remedy="choose a directory outside of it")
    home = homelab.home.resolve()
    if place.is_relative_to(home) and home / _RESTORES not in place.parents:
        raise UsageError(
            f"--to: {place} lies in `home`, {home}", remedy=f"choose one in {home / _RESTORES}, or outside"
        )
    if not place.parent.is_dir() and place.parent != home / _RESTORES:
        raise UsageError(f"--to: there is no directory {place.parent}", remedy="make it, or correct the path")
    return place


def kept_away(homelab: Homelab) -> Sequence[tuple[str, Path]]:
    """What a restore keeps away from: where it lies in, resolved."""
    kept = [
        (f"the source of {target}", path)
        for target, item in homelab.policies.items()
        for path in item.part.source.paths
    ]
    kept += [
        (f"destinations.{name}", item.place.path)
        for name, item in homelab.destinations.items()
        if isinstance(item.place, Directory)
    ]
    if isinstance(homelab.evidence_place, Directory):
        kept.append(("the evidence", homelab.evidence_place.path))
    kept.append(("the secrets directory", homelab.path.parent / homelab.settings.secrets))
    return [(what, path.resolve()) for what, path in kept]
