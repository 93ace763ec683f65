"""Radicale: calendars and address books in files, with the configuration and the users file beside them.

The restore test starts Radicale on the restored files and reads an event back over HTTP.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from backup_orchestration.core.policy import BackupPolicy, Probe, RestoreTest
from backup_orchestration.core.sources import Files

CONFIG, USERS, COLLECTIONS = "config", "users", "collections"
# Rebuilt by Radicale, or there for a moment only.
_PASSING = (".Radicale.cache", ".Radicale.lock", ".Radicale.tmp-*")
_INSTALLED_BESIDE_US = (sys.executable, "-P", "-m", "radicale")


class Radicale:
    """One Radicale with `htpasswd` users.

    Args:
        directory: absolute path of a directory with `config`, `users` (its htpasswd file) and `collections` (its
            `filesystem_folder`).
        event: path of an item that must be served, e.g. `ann/calendar/launch.ics`.
        contains: text that must be in it.
        login: file on this host whose first line is `user:password`, for a users file that holds hashes; None: the
            first line of the restored users file, with its password in clear.
        program: how Radicale is started here; its version should be the one that is backed up.
        destination: name of a destination.
        stand_in: it is not a real Radicale.
    """

    def __init__(
        self,
        directory: Path,
        event: str,
        *,
        contains: str = "BEGIN:VEVENT",
        login: Path | None = None,
        program: Sequence[str] = _INSTALLED_BESIDE_US,
        destination: str = "default",
        stand_in: bool = False,
    ) -> None:
        self._directory = directory
        self._event = event
        self._contains = contains
        self._login = login
        self._program = program
        self._destination = destination
        self._stand_in = stand_in

    def policies(self) -> list[BackupPolicy]:
        """`radicale/collections`."""
        required = [str(self._directory / name) for name in (CONFIG, USERS)]
        probes = (
            Probe(name="files", options={"required": required}),
            Probe(name="http", options={"command": self._command(), "requests": self._requests()}),
        )
        return [
            BackupPolicy(
                target="radicale/collections",
                description="calendars and address books, with the configuration and the users",
                source=Files(path=self._directory, exclude=_PASSING),
                destination=self._destination,
                cron="0 4 * * *",
                restore_test=RestoreTest(probes=probes),
                stand_in=self._stand_in,
            )
        ]

    def _command(self) -> list[str]:
        """Radicale with its restored configuration, but for where it listens, where its files lie, and its hooks."""
        at = "{root}" + str(self._directory).replace("{", "{{").replace("}", "}}")
        return [
            *self._program,
            *("--config", f"{at}/{CONFIG}"),
            *("--server-hosts", "127.0.0.1:{port}", "--no-server-ssl"),
            *("--auth-htpasswd-filename", f"{at}/{USERS}", "--auth-delay", "0"),
            *("--storage-filesystem-folder", f"{at}/{COLLECTIONS}", "--storage-filesystem-cache-folder", ""),
            *("--storage-hook", "", "--hook-type", "none"),
            *("--logging-level", "warning"),
        ]

    def _requests(self) -> list[Mapping[str, object]]:
        where = {"file": str(self._login)} if self._login else {"restored": str(self._directory / USERS)}
        event = {"path": f"/{self._event.lstrip('/')}"}
        return [
            {**event, "status": 401},
            {**event, "credentials": {**where, "scheme": "basic"}, "contains": self._contains},
        ]
