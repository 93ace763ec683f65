"""What is remembered of a database at backup time lies in the database itself: one row for each backup.

The row is written right before the backup begins and read in the restored server, by the run id of the snapshot. So it
is also the canary: if it is not there, what came back is older than the snapshot says, or of another database.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from backup_orchestration.core.errors import PostgresError, ProbeFailedError
from backup_orchestration.core.postgres import NEUTRAL, Server

# Backups of one server may run at the same time: each leaves alone what another may still need.
_KEPT_ROWS = 100

_THERE = """
SELECT nspname AS name, nspowner = current_user::regrole AS ours, nspowner::regrole::text AS owner
FROM pg_namespace WHERE nspname = 'homelab'
UNION ALL
SELECT relname, relowner = current_user::regrole, relowner::regrole::text
FROM pg_class WHERE relnamespace = to_regnamespace('homelab') AND relname = 'canary'
"""

_CREATE = {
    "homelab": "CREATE SCHEMA homelab;",
    "canary": "CREATE TABLE homelab.canary"
    " (run_id text PRIMARY KEY, taken_at timestamptz NOT NULL, facts jsonb NOT NULL);",
}

_WRITE = """
SET LOCAL transaction_read_only = off;
SET LOCAL synchronous_commit = local;
SET LOCAL lock_timeout = '60s';
{create}
INSERT INTO homelab.canary VALUES ({run_id}, clock_timestamp(), {facts});
DELETE FROM homelab.canary WHERE run_id NOT IN
    (SELECT run_id FROM homelab.canary ORDER BY taken_at DESC, run_id LIMIT {kept});
"""


def write(server: Server, database: str, run_id: str, facts: Mapping[str, Any]) -> None:
    """Leave a row behind, and drop those that no backup that still runs can need.

    Raises:
        PostgresError: the role may not write there, the row does not read back, or the table is somebody else's: a
            trigger of theirs would run with our rights.
    """
    server = server.having(**NEUTRAL)
    there = {row["name"]: row for row in server.rows(_THERE, database)}
    if foreign := next((row for row in there.values() if not row["ours"]), None):
        raise PostgresError(
            f"{foreign['name']} in database {database} belongs to {foreign['owner']}, not to {server.user}",
            remedy="see what the schema homelab there is, and drop it: a backup makes it anew",
        )
    create = "\n".join(statement for name, statement in _CREATE.items() if name not in there)
    text = json.dumps(facts, ensure_ascii=True)
    server.execute(_WRITE.format(create=create, run_id=literal(run_id), facts=literal(text), kept=_KEPT_ROWS), database)
    if _row(server, database, run_id) != json.loads(text):
        raise PostgresError(f"the row of run {run_id} in homelab.canary of {database} is not as it was written")


def read(server: Server, database: str, run_id: str) -> Mapping[str, Any]:
    """What was remembered for a backup.

    Raises:
        ProbeFailedError: the row is not there.
    """
    facts = (
        _row(server, database, run_id) if "canary" in {row["name"] for row in server.rows(_THERE, database)} else None
    )
    if not isinstance(facts, dict):
        raise ProbeFailedError(
            "canary absent: the row that was written right before this backup did not come back, so what came back is "
            "older than the snapshot says, or is not of it"
        )
    return facts


def _row(server: Server, database: str, run_id: str) -> Any:
    rows = server.rows(f"SELECT facts FROM homelab.canary WHERE run_id = {literal(run_id)}", database)  # noqa: S608
    return rows[0]["facts"] if rows else None


def literal(text: str) -> str:
    """A text as SQL writes it, whatever it holds."""
    return "'" + text.replace("'", "''") + "'"
