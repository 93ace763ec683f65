"""The one assembly point: what Dagster loads."""

import dagster as dg

from backup_orchestration.homelab.load import load
from backup_orchestration.orchestration.build import build_definitions
from backup_orchestration.orchestration.guard import without_secrets


@dg.definitions
def definitions() -> dg.Definitions:
    """The graph of the installation whose settings are found."""
    with without_secrets():
        return build_definitions(load())
