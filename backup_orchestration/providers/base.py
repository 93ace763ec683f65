"""The contract between this project and a backup tool.

A provider, opened on a policy and a destination, gives a repository; a repository takes, lists and restores
snapshots. An exception is the only failure: no operation returns "failed" as data.
"""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

from backup_orchestration.core.destination import Destination
from backup_orchestration.core.errors import NotCoveredError, ToolLiedError
from backup_orchestration.core.places import Place
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.progress import Progress
from backup_orchestration.core.retention import PrunePlan
from backup_orchestration.core.secrets import Secrets
from backup_orchestration.core.snapshot import Snapshot, rfc3339
from backup_orchestration.core.tools import Requirement


@dataclass(frozen=True)
class Surroundings:
    """What a provider may use of this installation.

    Attributes:
        secrets: resolves the destination's secrets.
        staging: private directory of the target for copies made before a backup; empty between backups.
        cache: directory that the tool may keep a cache in.
        home: of the installation; a part that runs its tool as another user may let that user pass through it.
        state: directory of the target for what must stay between backups, e.g. what a service's own calls read.
        now: the clock, UTC.
    """

    secrets: Secrets
    staging: Path
    cache: Path
    home: Path
    state: Path
    now: Callable[[], datetime]


@dataclass(frozen=True)
class BackupSpec:
    """How to take a snapshot.

    Attributes:
        run_id: stored in the snapshot, which is found by it afterwards.
        create: make the repository if there is none. False when it is known that there was one.
        reread: read everything anew instead of trusting what the last snapshot knew.
        facts: asked right before the source is read: what the probes want remembered of it, by probe; JSON.
    """

    run_id: str
    create: bool
    reread: bool = False
    facts: Callable[[], dict[str, Any]] = dict


@dataclass(frozen=True)
class RestoreSpec:
    """Where and how to restore.

    Attributes:
        directory: an existing, empty directory.
        witnessed: for a restore test: no cache, and every file of the repository that the restore touches is
            read whole and held against its checksum.
        scratch: private directory for what a witnessed restore needs meanwhile, removed by the caller; it must be
            found when the process is killed. Default: the system's temporary directory.
        at: the moment to restore to, UTC, for a provider that can replay what came after a snapshot; None: the
            snapshot itself.
    """

    directory: Path
    witnessed: bool = False
    scratch: Path | None = None
    at: datetime | None = None


@dataclass(frozen=True)
class RestoreReport:
    """What came back.

    Attributes:
        root: directory below which every path of the source stands, e.g. `root/srv/notes`; of a PostgreSQL cluster,
            the data directory stands at `root/pgdata`.
        files, bytes: as the tool counted them.
        seconds: time the restore took.
        bytes_read: read from the repository and checked, when witnessed.
        damaged: files of the repository that did not match their checksum or were missing, when witnessed.
    """

    root: Path
    files: int
    bytes: int
    seconds: float
    bytes_read: int = 0
    damaged: Sequence[str] = field(default_factory=tuple)


@dataclass(frozen=True)
class ByHand:
    """How a person restores without this project, in lines of a POSIX shell.

    Attributes:
        opening: what tells the tool where the repository is and where its secrets lie; may write into the directory
            that the shell is in.
        listing: lists what can be restored.
        restoring: restores what the variable SNAPSHOT names, below ./restored.
        named_by: which attribute of a snapshot the tool knows it by.
    """

    opening: tuple[str, ...]
    listing: str
    restoring: tuple[str, ...]
    named_by: Literal["snapshot_id", "key"] = "snapshot_id"

    def name(self, snapshot: Snapshot) -> str:
        """What SNAPSHOT must be."""
        return str(getattr(snapshot, self.named_by))

    def commands(self, snapshot: Snapshot) -> tuple[str, ...]:
        """Everything that restores one snapshot."""
        return (f"SNAPSHOT={shlex.quote(self.name(snapshot))}", *self.opening, *self.restoring)


@dataclass(frozen=True)
class PruneReport:
    """What pruning did, as it was read back.

    Attributes:
        removed: the snapshots that are gone, newest first.
        kept: those that the plan keeps and that are listed, newest first.
        seconds: time it took.
    """

    removed: tuple[Snapshot, ...]
    kept: tuple[Snapshot, ...]
    seconds: float = 0.0


def read_back_pruned(plan: PrunePlan, listed: Sequence[Snapshot]) -> PruneReport:
    """Hold what a repository lists after pruning against the plan. What came meanwhile is no difference.

    Raises:
        ToolLiedError: a kept snapshot is gone, or a removed one is still there.
    """
    there = {item.snapshot_id for item in listed}
    gone = [item.key for item in plan.kept if item.snapshot_id not in there]
    if gone:
        raise ToolLiedError(
            f"{plan.target}: pruning took what it had to keep: {', '.join(gone)}",
            remedy="look at the repository before anything else is done to it",
        )
    still = [item.key for item in plan.removed if item.snapshot_id in there]
    if still:
        raise ToolLiedError(f"{plan.target}: pruning reported success and left {', '.join(still)}")
    return PruneReport(plan.removed, plan.kept)


class Repository(ABC):
    """Snapshots of one target in one destination.

    Every operation raises a `HomelabError`: `RepositoryError` when the repository or its store is the
    reason, `ToolError` when the tool is, `SourceError` or `SpaceError` before anything was written.
    """

    @property
    @abstractmethod
    def location(self) -> str:
        """Where it is, without credentials; also what its lock is named by."""

    @abstractmethod
    def backup(self, spec: BackupSpec, progress: Progress) -> Snapshot:
        """Take a snapshot and read it back.

        Raises:
            RepositoryVanishedError: there is none, and `spec.create` is False.
            ToolLiedError: the tool reported success and the snapshot is not there as it should be.
        """

    @abstractmethod
    def snapshots(self) -> Sequence[Snapshot]:
        """Every completed snapshot of this target, oldest first.

        Raises:
            RepositoryMissingError: there is no repository.
        """

    @abstractmethod
    def restore(self, snapshot: Snapshot, into: RestoreSpec, progress: Progress) -> RestoreReport:
        """Restore one snapshot whole.

        Raises:
            RestoreFailedError: the snapshot could not be restored whole.
        """

    @abstractmethod
    def prune(self, plan: PrunePlan, progress: Progress) -> PruneReport:
        """Remove by their ids the snapshots that a plan removes, and all data that nothing needs any more.

        What to keep is the plan's to decide. The caller holds the repository's lock, has made the plan of what is
        listed now, and does not call this with a plan that is halted. Killed at any moment and called again with a
        new plan, also one that removes nothing, it brings to an end what was begun.

        Raises:
            RepositoryError: the repository holds what the plan does not know and what removing would take along;
                nothing was removed.
            ToolLiedError: what is listed afterwards is not what the plan says, see `read_back_pruned`.
        """

    def unlisted(self) -> Sequence[str]:
        """What lies in the repository as a snapshot does, and of which `snapshots` says nothing; lines for people.

        While there is any, the listing was cut short, or somebody tampered, and nothing is pruned.
        """
        return ()

    @abstractmethod
    def by_hand(self) -> ByHand:
        """How a person restores with the tool alone, in a POSIX shell; secrets stand as file names. Reads nothing."""

    def covering(self, at: datetime) -> Snapshot:
        """The snapshot from which a moment can be restored, see `RestoreSpec.at`.

        Raises:
            NotCoveredError: there is none; names the interval that is covered.
        """
        raise NotCoveredError(
            f"{self.location} can restore its snapshots, and no moment between them such as {rfc3339(at)}",
            remedy="leave --at away, or choose a snapshot with --snapshot",
        )

    def health(self) -> Sequence[str]:
        """What feeds the repository between backups, and how that does; lines for people.

        Never raises a `HomelabError`: that it cannot be asked is a line as well.
        """
        return ()

    def latest(self) -> Snapshot | None:
        """The newest snapshot, or None."""
        return max(self.snapshots(), key=lambda item: (item.taken_at, item.snapshot_id), default=None)


class Provider(ABC):
    """Drives one backup tool.

    Attributes:
        name: as policies name it.
        encryption: `client`, `sse` or `none`: where the data is encrypted.
        tools: what must be installed.
        sources: the kinds of source it takes.
    """

    name: ClassVar[str]
    encryption: ClassVar[str]
    tools: ClassVar[tuple[Requirement, ...]]
    sources: ClassVar[tuple[str, ...]]

    def needs(self, policy: BackupPolicy) -> tuple[Requirement, ...]:
        """What must be installed for the backups of one policy; restores do with `tools`."""
        del policy
        return self.tools

    @abstractmethod
    def open(self, policy: BackupPolicy, destination: Destination, around: Surroundings) -> Repository:
        """A repository for this policy in this destination. Touches nothing and starts nothing."""

    @abstractmethod
    def location(self, policy: BackupPolicy, destination: Destination) -> Place:
        """Where that repository is or will be; used to refuse overlaps when settings are loaded.

        Raises:
            PolicyError: it cannot be kept in such a destination.
        """
