"""Where everything of an example lab lies: one directory, `.homelab/devlab`, and nothing outside of it.

homelab.toml, services.py     the settings and policies, as a person would write them
secrets/                      every secret, and nothing else
services/<name>/              data of each service
store/                        objects of the S3 store, as plain files
dagster/                      Dagster's home
labs/, staging/, locks/ …     other state of this installation, made when needed
logs/                         output of every process
run/                          what runs: process ids, ports
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backup_orchestration.core import settings


@dataclass(frozen=True)
class DevlabPaths:
    """Paths of one lab."""

    home: Path

    @property
    def settings(self) -> Path:
        """Its homelab.toml."""
        return self.home / settings.FILENAME

    @property
    def secrets(self) -> Path:
        """Every secret."""
        return self.home / "secrets"

    @property
    def services(self) -> Path:
        """Data of the services."""
        return self.home / "services"

    @property
    def store(self) -> Path:
        """Objects of the S3 store; its buckets are directories."""
        return self.home / "store"

    @property
    def dagster(self) -> Path:
        """Dagster's home."""
        return self.home / "dagster"

    @property
    def logs(self) -> Path:
        """Output of every process."""
        return self.home / "logs"

    @property
    def run(self) -> Path:
        """What runs."""
        return self.home / "run"

    def repository(self, target: str) -> Path:
        """Files of a target's repository, as they lie in the store."""
        return self.store / "backups" / f"restic-{target.replace('/', '-')}"

    def mirrored(self, target: str) -> Path:
        """Snapshots of a mirrored bucket, as they lie in the store."""
        return self.store / "backups" / target.replace("/", "-")


def devlab_of(directory: Path) -> DevlabPaths:
    """The lab of a directory."""
    return DevlabPaths((directory / settings.DEVLAB_SETTINGS).parent)
