"""A pgBackRest repository of the shared cluster, with nothing else around it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from backup_orchestration.core.destination import Destination
from backup_orchestration.core.places import Directory, Place
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.postgres import PGDATA
from backup_orchestration.core.progress import silent
from backup_orchestration.core.secrets import SecretRef, Secrets
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.core.sources import Postgres
from backup_orchestration.providers.base import BackupSpec, RestoreReport, RestoreSpec, Surroundings
from backup_orchestration.providers.pgbackrest import PgBackRest, PgBackRestRepository
from backup_orchestration_tests.postgres_cluster import RunningCluster

# What a shell, an INI file and a configuration parser might stumble over.
PASSWORD = "correct; horse #battery $HOME 'staple' \"x\" = %p"


@dataclass
class PgSite:
    """`shop/db` on a cluster; `repository` opens its repository afresh."""

    root: Path
    cluster: RunningCluster
    place: Place | None = None
    source: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root.mkdir(exist_ok=True)
        (self.root / "password").write_text(PASSWORD + "\n")

    @property
    def policy(self) -> BackupPolicy:
        source = Postgres(**{**self.cluster.source, **self.source})
        return BackupPolicy(target="shop/db", provider="pgbackrest", source=source)

    @property
    def around(self) -> Surroundings:
        home = self.root / "home"
        secrets = Secrets(self.root, self.root / "secrets", {}, home / "run")
        return Surroundings(
            secrets, home / "staging", home / "cache", home, home / "state" / "shop-db", lambda: datetime.now(UTC)
        )

    @property
    def repository(self) -> PgBackRestRepository:
        place = self.place or Directory(self.root / "backups")
        destination = Destination("default", place, SecretRef(file=Path("password")))
        opened = PgBackRest().open(self.policy, destination, self.around)
        assert isinstance(opened, PgBackRestRepository)
        return opened

    @property
    def files(self) -> Path:
        """Where a repository in a directory lies."""
        return Path(self.repository.location)

    def archive(self) -> PgSite:
        """Let the cluster archive with this site."""
        self.cluster.archive_with(dict(self.repository.archive_settings()))
        return self

    def backup(self, facts: dict[str, object] | None = None, **spec: object) -> Snapshot:
        wanted = {"run_id": os.urandom(8).hex(), "create": True, "facts": lambda: facts or {}, **spec}
        return self.repository.backup(BackupSpec(**wanted), silent)  # type: ignore[arg-type]

    def restore(self, snapshot: Snapshot, at: datetime | None = None, name: str = "lab") -> RestoreReport:
        into = self.root / name
        into.mkdir(mode=0o700)
        report = self.repository.restore(snapshot, RestoreSpec(into, witnessed=True, at=at), silent)
        assert (report.root / PGDATA).is_dir()
        return report
