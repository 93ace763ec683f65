"""Whether text is sorted here as where the data comes from: if not, good indexes look damaged, and bad ones good."""

from __future__ import annotations

from backup_orchestration.core.errors import LabError
from backup_orchestration.core.postgres import Server, databases

_DATABASES_HAVE_THEM = 15


def check_collations(server: Server) -> None:
    """Refuse to judge indexes that were sorted by other rules than this machine's.

    Raises:
        PostgresError: it does not answer.
        LabError: names database and versions.
    """
    for database in databases(server):
        for row in server.rows(_collations(server.programs.major), database):
            if row["then"] != row["now"]:
                raise LabError(
                    f"database {database} is sorted by version {row['then']} of collation {row['name']}, and this "
                    f"machine has {row['now']}: its indexes cannot be judged here",
                    remedy="test where the C library and ICU are the server's own; if the server itself warns of it, "
                    "reindex there and ALTER DATABASE … REFRESH COLLATION VERSION",
                )


def _collations(major: int) -> str:
    """Of a database, and of those that its indexes name."""
    query = (
        "SELECT collname AS name, collversion AS then, pg_collation_actual_version(oid) AS now FROM pg_collation"
        " WHERE collversion IS NOT NULL AND oid IN (SELECT unnest(indcollation::oid[]) FROM pg_index)"
    )
    if major < _DATABASES_HAVE_THEM:
        return query
    return (
        f"{query} UNION ALL SELECT datcollate, datcollversion, pg_database_collation_actual_version(oid)"  # noqa: S608
        " FROM pg_database WHERE datname = current_database() AND datcollversion IS NOT NULL"
    )
