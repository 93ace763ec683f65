"""Where repositories are kept."""

from __future__ import annotations

from pathlib import Path

from backup_orchestration.core.secrets import SecretRef
from backup_orchestration.core.sources import AbsolutePath, Frozen


class DestinationSettings(Frozen):
    """One `[destinations.NAME]` table of the settings.

    Attributes:
        location: directory on this host that holds one repository for each target.
        password: where the repositories' password comes from.
    """

    location: Path
    password: SecretRef


class Destination(Frozen):
    """A destination with its place worked out: what a provider opens a repository in."""

    name: str
    location: AbsolutePath
    password: SecretRef
