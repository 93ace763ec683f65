"""Grafana on SQLite: dashboards, users, data sources."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from backup_orchestration.core.policy import BackupPolicy, Probe, RestoreTest
from backup_orchestration.core.sources import Sqlite

# A Grafana that anybody has used has at least an administrator and an organisation.
_FLOORS: Mapping[str, int] = {"user": 1, "org": 1}


class Grafana:
    """Grafana's `grafana.db`, captured through SQLite's backup API while it is written.

    Args:
        database: absolute path of `grafana.db`.
        min_rows: least rows by table, besides one user and one organisation.
        destination: name of a destination.
        stand_in: the database is not a real Grafana's.
    """

    def __init__(
        self,
        database: Path,
        *,
        min_rows: Mapping[str, int] | None = None,
        destination: str = "default",
        stand_in: bool = False,
    ) -> None:
        self._database = database
        self._floors = {**_FLOORS, **(min_rows or {})}
        self._destination = destination
        self._stand_in = stand_in

    def policies(self) -> list[BackupPolicy]:
        """`grafana/db`."""
        probe = Probe(name="sqlite", options={"min_rows": self._floors})
        return [
            BackupPolicy(
                target="grafana/db",
                description="dashboards, users and data sources",
                source=Sqlite(path=self._database),
                destination=self._destination,
                cron="15 3 * * *",
                restore_test=RestoreTest(probes=(probe,)),
                stand_in=self._stand_in,
            )
        ]
