"""A PostgreSQL of any service: a whole cluster through pgBackRest, or one database dumped through restic.

Physical backups are taken of the running cluster with its WAL, and can be restored to any moment; they need the
machine that the cluster runs on. A dump needs a connection and no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backup_orchestration.core.policy import BackupPolicy, Probe, RestoreTest, Retention
from backup_orchestration.core.sources import PgDump, Postgres

_OF_CLUSTERS = Retention(keep_last=3, keep_daily=7, keep_weekly=4, keep_monthly=6)


class PostgresDatabase:
    """One cluster or one database.

    Args:
        service: first half of the target.
        source: `Postgres` for a whole cluster, `PgDump` for one database of any server.
        name: second half of the target.
        expect: options of the probe `sql`, e.g. `{"min_rows": {"accounts": 10}}`.
        cron: when a snapshot is taken.
        destination: name of a destination.
        stand_in: the database is not the real service's.
    """

    def __init__(
        self,
        service: str,
        source: Postgres | PgDump,
        *,
        name: str = "postgres",
        expect: Mapping[str, Any] | None = None,
        cron: str = "15 2 * * *",
        destination: str = "default",
        stand_in: bool = False,
    ) -> None:
        self._target = f"{service}/{name}"
        self._source = source
        self._expect = expect or {}
        self._cron = cron
        self._destination = destination
        self._stand_in = stand_in

    def policies(self) -> list[BackupPolicy]:
        """`<service>/<name>`."""
        physical = isinstance(self._source, Postgres)
        return [
            BackupPolicy(
                target=self._target,
                description="a whole PostgreSQL cluster, with its WAL" if physical else "a dump of a database",
                source=self._source,
                provider="pgbackrest" if physical else "restic",
                destination=self._destination,
                cron=self._cron,
                retention=_OF_CLUSTERS if physical else Retention(),
                restore_test=RestoreTest(probes=(Probe(name="sql", options=self._expect),)),
                stand_in=self._stand_in,
            )
        ]
