"""The tools that the example lab and the tests need."""

from __future__ import annotations

from backup_orchestration.core.postgres import POSTGRES
from backup_orchestration.core.tools import Requirement
from backup_orchestration.probes.git import GIT
from backup_orchestration.providers.restic import Restic

RCLONE = Requirement("rclone", (1, 65), ("version",), r"rclone v(\d+\.\d+\.\d+)")
PGBACKREST = Requirement("pgbackrest", (2, 45), ("version",), r"pgBackRest (\d+\.\d+(?:\.\d+)?)")

TOOLS = (GIT, PGBACKREST, POSTGRES, RCLONE, *Restic.tools)
