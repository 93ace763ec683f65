"""Where repositories are kept."""

from __future__ import annotations

from dataclasses import dataclass

from backup_orchestration.core.places import Place, PlaceSettings
from backup_orchestration.core.secrets import SecretRef


class DestinationSettings(PlaceSettings):
    """One `[destinations.NAME]` table of the settings: a place that holds one repository for each target.

    Attributes:
        password: where the repositories' password comes from.
    """

    password: SecretRef


@dataclass(frozen=True)
class Destination:
    """A destination with its place worked out: what a provider opens a repository in."""

    name: str
    place: Place
    password: SecretRef
