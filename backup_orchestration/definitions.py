"""The one assembly point: what Dagster loads."""

import dagster as dg

from backup_orchestration.homelab.load import load
from backup_orchestration.orchestration.build import build_definitions


@dg.definitions
def definitions() -> dg.Definitions:
    """The graph of the installation whose settings are found."""
    return build_definitions(load())
