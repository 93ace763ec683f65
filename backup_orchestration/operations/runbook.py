"""The steps that restore every target with plain tools: for the day on which this project, or its machine, is gone."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from backup_orchestration.core import places, tools
from backup_orchestration.core.errors import ToolMissingError
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.redaction import REDACTOR
from backup_orchestration.core.secrets import SecretRef, describe
from backup_orchestration.core.snapshot import Snapshot, rfc3339
from backup_orchestration.core.sources import Bucket, Postgres
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations.applications import applications_of, points
from backup_orchestration.operations.put_back import way_back
from backup_orchestration.operations.status import TargetStatus, status
from backup_orchestration.providers.base import ByHand

_RESTORED = Path("restored")
# What a person takes where we speak to the store ourselves.
_BY_HAND = {"minio-mirror": ("rclone",)}
_OBJECTS = (
    "Objects stand below `restored/` by their keys, without content type, metadata and tags. To fill a bucket, with",
    "them: the same `rclone copy` with `--metadata`, to the bucket in place of `./restored`. Keys that no file can",
    "have (one that ends in `/`, `a` beside `a/b`) come back in that way only. Keys of some thousand bytes are not in",
    "`data/` but below `long/`, by their SHA-256; `manifest.jsonl.gz` beside it names every key.",
)
_CLUSTER = (
    "The data directory stands at `restored/pgdata`, as it was at the end of that backup. Move `{data}` away and this",
    "one there, owned by the server's user, mode 0700, and start the server: it fetches its WAL by `pgbackrest.conf`,",
    "which must stay till then and which that user must be able to read. It holds secrets: remove it afterwards.",
    "Tablespaces stay in `restored/tablespaces`. Archiving is off: take the last `archive_mode` out of",
    "`postgresql.auto.conf`, restart, and take a backup. For everything up to the last archived WAL instead, restore",
    "without `--set`, `--type` and `--target-action`.",
)


@dataclass(frozen=True)
class Entry:
    """One target.

    Attributes:
        policy: of the target.
        status: what is known of it now.
        by_hand: how it is restored.
        location: of its repository, without credentials.
        needs: the tools, with the versions that are installed here.
    """

    policy: BackupPolicy
    status: TargetStatus
    by_hand: ByHand
    location: str
    needs: tuple[str, ...]

    @property
    def snapshot(self) -> Snapshot | None:
        """What to restore: the newest verified snapshot, else the newest one; None where nobody can say."""
        found = self.status.assessment
        if found is None:
            return None
        return found.recovery_point or next(iter(found.snapshots), None)

    @property
    def verified(self) -> bool:
        """Whether that one passed its restore test, and counts."""
        return self.status.assessment is not None and self.status.assessment.standing_point is not None

    @property
    def said(self) -> str:
        """One line about what to restore."""
        if self.snapshot is None:
            return f"no snapshot is known: {self.status.reason or 'none was taken yet'}"
        taken = f"{self.snapshot.key}, taken {rfc3339(self.snapshot.taken_at)}"
        return f"{taken}, restore test passed" if self.verified else f"{taken}, NOT VERIFIED: {self.status.reason}"


def entries(homelab: Homelab, targets: Sequence[str], shown: Homelab | None = None) -> list[Entry]:
    """What the runbook says of each target; a repository that cannot be read is said, and its steps are written.

    Args:
        homelab: the installation.
        targets: full names.
        shown: the same installation with its secrets and certificates where the steps are to find them.
    """
    return [
        Entry(
            policy=homelab.policy(item.target),
            status=item,
            by_hand=(shown or homelab).repository(item.target).by_hand(),
            location=homelab.repository(item.target).location,
            needs=tuple(_needs(homelab, item.target)),
        )
        for item in status(homelab, targets)
    ]


def _needs(homelab: Homelab, target: str) -> Iterator[str]:
    provider = homelab.provider(homelab.policy(target))
    yield from _BY_HAND.get(provider.name, ())
    for needed in provider.tools:
        try:
            yield str(tools.find(needed))
        except ToolMissingError:
            yield f"{needed.name} {tools.dotted(needed.minimum)} or newer"


def runbook(homelab: Homelab, found: Sequence[Entry]) -> str:
    """The runbook, in Markdown.

    Args:
        homelab: the installation; its paths are those of this machine.
        found: of all targets that it is about.
    """
    lines = [
        *head(homelab, "Restore runbook"),
        "Every step uses the tools named with it and nothing of this project. Secrets are read from these files:",
        "",
        *(f"- `{field}`: {where_kept(homelab, ref)}" for field, ref in secret_refs(homelab).items()),
        "",
        *order(homelab, found),
    ]
    for entry in found:
        lines += section(entry, _steps(entry))
    return REDACTOR.clean_lines("\n".join(lines)) + "\n"


def head(homelab: Homelab, title: str) -> list[str]:
    """Title, and when and from what it was written."""
    return [
        f"# {title}",
        "",
        f"Written {rfc3339(homelab.now())} by backup-orchestration {version('backup-orchestration')} on "
        f"{platform.node()}, from {homelab.path}.",
        "",
    ]


def secret_refs(homelab: Homelab) -> dict[str, SecretRef]:
    """The secrets that open the repositories, by field of the settings."""
    found = {}
    for name, item in homelab.destinations.items():
        found[f"destinations.{name}.password"] = item.password
        if isinstance(item.place, places.Bucket):
            found[f"destinations.{name}.access_key"] = item.place.access_key
            found[f"destinations.{name}.secret_key"] = item.place.secret_key
    return found


def where_kept(homelab: Homelab, ref: SecretRef) -> str:
    """Where this machine has a secret, in words."""
    return str(homelab.secrets.path(ref) or describe(ref))


def order(homelab: Homelab, found: Sequence[Entry]) -> list[str]:
    """What belongs together: the snapshots of each application that fit one another."""
    lines = []
    for point in points(applications_of(homelab), [entry.status for entry in found]):
        lines.append(f"- **{point.chain.name}**: {', then '.join(point.chain.members)}.")
        names = {item.target: item for item in point.snapshots}
        for entry in found:
            if snapshot := names.get(entry.policy.target):
                lines.append(f"  `{entry.policy.target}`: `{entry.by_hand.name(snapshot)}`")
        if not point.snapshots:
            lines.append(f"  No set of verified snapshots fits together: {point.reason}")
    if not lines:
        return []
    return ["## What belongs together", "", "Restore these to the snapshots named here, in this order:", "", *lines, ""]


def _steps(entry: Entry) -> list[str]:
    name = entry.by_hand.name(entry.snapshot) if entry.snapshot else "<one that the listing shows>"
    return [
        "In a new directory that only you can enter:",
        "",
        "```sh",
        *entry.by_hand.opening,
        f"{entry.by_hand.listing}    # what there is",
        f"SNAPSHOT={shlex.quote(name)}",
        *entry.by_hand.restoring,
        "```",
    ]


def section(entry: Entry, steps: Sequence[str]) -> list[str]:
    """All about one target, with these steps."""
    policy = entry.policy
    stand_in = " A STAND-IN, not the real service." if policy.stand_in else ""
    return [
        f"## {policy.target}",
        "",
        *([policy.description, ""] if policy.description else []),
        f"- What: {policy.source.kind}: {policy.source.summary}.{stand_in}",
        f"- Kept by {policy.provider} in `{entry.location}`; needed: {', '.join(entry.needs) or 'nothing more'}.",
        f"- Restore: {entry.said}.",
        "",
        *steps,
        "",
        *_afterwards(entry),
    ]


def _afterwards(entry: Entry) -> list[str]:
    """What is done with what stands below ./restored."""
    source = entry.policy.source
    if isinstance(source, Bucket):
        return [*_OBJECTS, ""]
    if isinstance(source, Postgres):
        return [*(line.format(data=source.data) for line in _CLUSTER), ""]
    if entry.snapshot is None:
        return []
    return ["Then:", "", "```sh", *way_back(entry.policy, entry.snapshot, _RESTORED).steps, "```", ""]
