"""The contract of a probe."""

from __future__ import annotations

import stat
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from backup_orchestration.core import canary, manifest
from backup_orchestration.core.errors import ProbeFailedError
from backup_orchestration.core.frozen import Frozen
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.postgres import Server
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.core.tools import Requirement


@dataclass(frozen=True)
class Restored:
    """What a probe looks at.

    Attributes:
        root: directory below which every restored path stands: `/srv/notes` is at `root/srv/notes`.
        policy, snapshot: what was restored.
        started_at: when the restore began; nothing in the data can be newer.
        at: the moment after the snapshot that was restored to: what was counted when it was taken may have changed
            since; None: the snapshot itself.
        server: the PostgreSQL that runs on the restored data, where the source is one; None once it was stopped.
    """

    root: Path
    policy: BackupPolicy
    snapshot: Snapshot
    started_at: datetime
    server: Server | None = None
    at: datetime | None = None

    def path(self, source: str) -> Path:
        """Where a path of the source stands in the lab."""
        return self.root / source.lstrip("/")

    def manifest_path(self) -> Path | None:
        """The manifest that the capture wrote; None for a source that has none.

        Raises:
            ProbeFailedError: the snapshot should hold one and does not, or it leads out of the lab.
        """
        if not self.policy.source.has_manifest:
            return None
        for path in self.snapshot.paths:
            if Path(path).name == manifest.FILENAME:
                return self.inside(path)
        raise ProbeFailedError(f"{self.snapshot.key} holds no manifest")

    def fact(self, probe: str) -> Any:
        """What the probe of this name had remembered when the source was captured.

        Raises:
            ProbeFailedError: nothing was remembered, or it did not come back.
        """
        facts = self._facts()
        if probe not in facts:
            raise ProbeFailedError("nothing was recorded for it when the source was captured")
        return facts[probe]

    def _facts(self) -> Mapping[str, Any]:
        database = self.policy.source.canary_database
        if database is not None:
            return canary.read(self.running(), database, self.snapshot.run_id)
        path = self.manifest_path()
        return manifest.read(path)[0].facts if path else {}

    def running(self) -> Server:
        """The server that runs on the restored data.

        Raises:
            ProbeFailedError: none was started.
        """
        if self.server is None:
            raise ProbeFailedError("no server runs on what was restored")
        return self.server

    def inside(self, source: str) -> Path:
        """As `path`, with links followed; see `within`."""
        return self.within(self.path(source))

    def within(self, path: Path) -> Path:
        """A path of the lab with its links followed; it need not be there. Every probe opens only what this gave it.

        Raises:
            ProbeFailedError: it leads out of the lab, or to a pipe, a socket or a device: opening one may wait for
                ever, or do something.
        """
        try:
            real = path.resolve()
            mode = real.stat().st_mode if real.exists() else 0
        except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError
            raise ProbeFailedError(f"{self.source(path)} cannot be reached") from error
        if not real.is_relative_to(self.root.resolve()):
            raise ProbeFailedError(f"{self.source(path)} leads out of the lab")
        if mode and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise ProbeFailedError(f"{self.source(path)} is a special file")
        return real

    def read(self, path: Path, most: int) -> bytes:
        """A small file of the lab, whole.

        Args:
            path: in the lab; links are followed as by `within`.
            most: bytes; a file that is larger is not what it should be.

        Raises:
            ProbeFailedError: as `within`; it is missing, cannot be read, or is larger.
        """
        try:
            with self.within(path).open("rb") as file:
                content = file.read(most + 1)
        except OSError as error:
            raise ProbeFailedError(f"{self.source(path)} cannot be read: {error.strerror}") from error
        if len(content) > most:
            raise ProbeFailedError(f"{self.source(path)} is larger than {most:,} bytes")
        return content

    def source(self, path: Path) -> str:
        """The path at the source of what stands at `path` in the lab."""
        return f"/{path.relative_to(self.root)}" if path.is_relative_to(self.root) else str(path)


@dataclass(frozen=True)
class Finding:
    """What a probe that passed has seen.

    Attributes:
        summary: one line for people.
        counts: numbers that are worth plotting.
    """

    summary: str
    counts: Mapping[str, int] = field(default_factory=dict)


class NoOptions(Frozen):
    """A probe without options."""


Options = TypeVar("Options", bound=Frozen, contravariant=True)


class ProbeKind(ABC, Generic[Options]):
    """One kind of assertion.

    Attributes:
        name: as policies name it.
        sources: the kinds of source whose restored data it understands.
        options: model of its options; what a policy declares is checked by it when policies are loaded.
        after_stop: it looks at what a server has left behind, and is run after it was stopped.
        changes_data: it may change what was restored, and is run after those that do not.
        tools: what must be installed.
    """

    name: ClassVar[str]
    sources: ClassVar[tuple[str, ...]]
    options: ClassVar[type[Frozen]] = NoOptions
    after_stop: ClassVar[bool] = False
    changes_data: ClassVar[bool] = False
    tools: ClassVar[tuple[Requirement, ...]] = ()

    def record(self, policy: BackupPolicy, options: Options) -> object | None:
        """What to remember of the live source, asked right before it is captured; JSON, or None for nothing.

        Raises:
            SourceError: the source cannot be asked; the backup fails.
        """
        del policy, options
        return None

    @abstractmethod
    def check(self, restored: Restored, options: Options) -> Finding:
        """Look at restored data; never execute it, nor change it unless `changes_data`, nor open what
        `Restored.within` did not give.

        It is stopped when its time is up, see `Probe.timeout`.

        Raises:
            ProbeFailedError: the data is not as it should be. A `PostgresError`, and any exception that is no
                `HomelabError`, counts the same.
            HomelabError: it could not be looked at, e.g. a tool is missing; the test proves nothing.
        """
