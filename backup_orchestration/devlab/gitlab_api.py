"""A STAND-IN for GitLab's API: `/api/v4/version`, from its database, to who shows a token. No real GitLab runs here.

python -m backup_orchestration.devlab.gitlab_api PORT PROGRAMS SOCKET DATABASE_PORT DATABASE_USER

PROGRAMS is the directory of PostgreSQL's.

As in the real one, the database holds a digest of each personal access token, and the token itself is with the person
that it was made for. Unlike there, the digest has no salt, and the version stands in the database.
"""

from __future__ import annotations

import base64
import hashlib
import os
import sys
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from backup_orchestration.core.errors import PostgresError
from backup_orchestration.core.postgres import Programs, Server
from backup_orchestration.devlab.json_answers import JsonHandler

DATABASE = "gitlabhq_production"
VERSION, REVISION = "17.5.2-stand-in", "stand-in"
HEALTH = "/-/readiness"
_SCHEME = "Bearer "


class StandIn(ThreadingHTTPServer):
    """Answers on the loopback address.

    Args:
        port: 0 for any.
        database: server with the database.
    """

    daemon_threads = True

    def __init__(self, port: int, database: Server) -> None:
        self.database = database
        super().__init__(("127.0.0.1", port), _Handler)

    def rows(self, query: str) -> Any:
        """Rows of a SELECT.

        Raises:
            PostgresError: the database does not answer.
        """
        return self.database.rows(query, DATABASE)

    def knows(self, token: str) -> bool:
        """Whether a token of this digest is in the database, not revoked and not expired."""
        valid = "NOT revoked AND expires_at > current_date"
        query = f"SELECT id FROM personal_access_tokens WHERE token_digest = '{digest(token)}' AND {valid}"  # noqa: S608
        return bool(token) and bool(self.rows(query))


def digest(token: str) -> str:
    """What the database holds of a token: letters, digits, `+`, `/` and `=`."""
    return base64.b64encode(hashlib.sha256(token.encode()).digest()).decode()


class _Handler(JsonHandler):
    server: StandIn

    def do_GET(self) -> None:  # noqa: N802 - http.server names it
        """`/-/readiness`, `/api/v4/version`."""
        try:
            self._get()
        except PostgresError as error:
            self.answer(HTTPStatus.SERVICE_UNAVAILABLE, {"message": str(error)})

    def _get(self) -> None:
        if self.path == HEALTH:
            self.server.rows("SELECT 1")
            self.answer(HTTPStatus.OK, {"status": "ok"})
        elif not self.server.knows(self._token()):
            self.answer(HTTPStatus.UNAUTHORIZED, {"message": "401 Unauthorized"})
        elif self.path == "/api/v4/version":
            (settings,) = self.server.rows("SELECT version, revision FROM application_settings")
            self.answer(HTTPStatus.OK, settings)
        else:
            self.answer(HTTPStatus.NOT_FOUND, {"message": "this stand-in does not know that"})

    def _token(self) -> str:
        bearer = self.headers.get("Authorization", "")
        return self.headers.get("PRIVATE-TOKEN") or (bearer[len(_SCHEME) :] if bearer.startswith(_SCHEME) else "")


def main(port: str, programs: str, socket: str, database_port: str, user: str) -> None:
    """Answer until SIGTERM."""
    database = Server(Programs(Path(programs), ()), Path(socket), int(database_port), user, os.geteuid())
    StandIn(int(port), database).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
