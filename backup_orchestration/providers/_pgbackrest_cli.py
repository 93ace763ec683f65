"""Calls of pgBackRest 2.45 and newer: arguments, exit codes, JSON. What they are for is `pgbackrest.py`.

Exit codes: pgBackRest's src/build/error/error.yaml. Errors go to stderr, whatever the version: 2.53 and newer print
them elsewhere unless told.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backup_orchestration.core.commands import Command, Completed, failed, run
from backup_orchestration.core.errors import (
    HomelabError,
    PostgresError,
    RepositoryError,
    RepositoryLockedError,
    RepositoryMissingError,
    RepositoryUnreachableError,
    RestoreFailedError,
    SourceError,
    SpaceError,
    ToolLiedError,
    WrongPasswordError,
)
from backup_orchestration.core.redaction import REDACTOR
from backup_orchestration.core.tools import Requirement, Tool

PGBACKREST = Requirement("pgbackrest", (2, 45), ("version",), r"pgBackRest (\d+\.\d+(?:\.\d+)?)")
NO_SUCH_SEGMENT = 1
# The repository's content is not what it should be: checksum, format, missing file, broken set, decryption.
DAMAGED = frozenset({26, 28, 29, 42, 55, 75, 95, 99})

_MISSING_STANZA, _MISSING_DATA, _OTHER = 1, 3, 99
_QUERY_SECONDS = 300.0
_TRANSFER_SECONDS = 24 * 3600.0
# "backup file /data/base/1/255 (bundle 1/2655, 8KB, 99.96%) checksum ..."
_PERCENT = re.compile(r" DETAIL: (?:backup|restore) file .+, (\d+(?:\.\d+)?)%\)")
_ERROR = re.compile(r"ERROR: (\[\d+\]: .+)")


@dataclass(frozen=True)
class PgBackRestCli:
    """One stanza in one repository, as pgBackRest is called on it.

    Attributes:
        tool: the binary.
        stanza: its name.
        config: configuration file; holds every secret.
        user: id of the user it runs as.
        location: of the repository, for messages.
    """

    tool: Tool
    stanza: str
    config: Path
    user: int
    location: str

    def info(self) -> Mapping[str, Any]:
        """What `info` says of the stanza. It ends with exit code 0 in all cases.

        Raises:
            RepositoryMissingError: there is no stanza.
            WrongPasswordError, RepositoryError: it cannot be read.
        """
        stanza = self._info()
        code, message = _status(stanza)
        if code in (_MISSING_STANZA, _MISSING_DATA):
            raise RepositoryMissingError(f"there is no pgBackRest repository at {self.location}: {message}")
        if code != _OTHER:
            return stanza
        why = REDACTOR.clean(message.replace("\n", "; ")[:300])
        if "FormatError" in message or "CryptoError" in message:
            raise WrongPasswordError(
                f"the password does not open the repository {self.location}, or its backup.info is damaged: {why}",
                remedy="see where the settings take the destination's password from",
            )
        raise RepositoryError(f"pgBackRest cannot read {self.location}: {why}")

    def identity(self) -> str:
        """An id that a stanza made anew in the same place has not: a hash of the key it encrypts WAL with.

        pgBackRest makes that key when a stanza is made and keeps it over upgrades of PostgreSQL.
        """
        text = self.query("repo-get", f"archive/{self.stanza}/archive.info", secret=True).stdout
        key = re.search(r'^cipher-pass="(.+)"$', text, re.MULTILINE)
        if key is None:
            raise ToolLiedError("pgbackrest repo-get ended with exit code 0 and gave no key in archive.info")
        return hashlib.sha256(b"homelab stanza\n" + key[1].encode()).hexdigest()

    def listing(self, path: str) -> Mapping[str, Mapping[str, Any]]:
        """Names in a directory of the repository, with what `repo-ls` says of each; empty where there is none."""
        listed = _json(self.query("repo-ls", "--output=json", path).stdout, "repo-ls")
        if not isinstance(listed, dict):
            raise ToolLiedError("pgbackrest repo-ls ended with exit code 0 and gave no object")
        return {name: item for name, item in listed.items() if name != "."}

    def segment(self, name: str, file: Path) -> bool:
        """Fetch a WAL segment into a file; False when the archive has not got it.

        Raises:
            RestoreFailedError: what the archive holds of it is damaged.
        """
        done = run(self._command(("archive-get", name, str(file)), _QUERY_SECONDS))
        if done.returncode in DAMAGED:
            raise RestoreFailedError(f"WAL segment {name} in the archive is damaged: {last_message(done)}")
        if done.returncode not in (0, NO_SUCH_SEGMENT):
            raise self.error(done)
        return done.returncode == 0

    def transfer(self, arguments: Sequence[str], on_fraction: Callable[[float], None]) -> Completed:
        """Run a backup or a restore. Does not judge the exit code."""

        def handle(line: str) -> None:
            if match := _PERCENT.search(line):
                on_fraction(float(match[1]) / 100)

        return run(self._command((*arguments, "--log-level-console=detail"), _TRANSFER_SECONDS), on_stdout=handle)

    def query(self, *arguments: str, secret: bool = False) -> Completed:
        """Run a short call and insist on exit code 0."""
        done = run(self._command(arguments, _QUERY_SECONDS, secret=secret))
        if done.returncode != 0:
            raise self.error(done)
        return done

    def error(self, done: Completed) -> HomelabError:
        """What an exit code other than 0 means."""
        why = f"pgbackrest: {last_message(done)}"
        if "No space left on device" in why:
            return SpaceError(f"no room is left: {why}", remedy="free room, or move it to a larger disk")
        known = _ERRORS.get(done.returncode)
        if known is None:
            return failed(Completed(done.name, done.returncode, "", last_message(done)))
        kind, message, remedy = known
        return kind(f"{message.format(location=self.location)}: {why}", remedy=remedy)

    def _info(self) -> Mapping[str, Any]:
        listed = _json(self.query("info", "--output=json").stdout, "info")
        found = [item for item in listed if item.get("name") == self.stanza] if isinstance(listed, list) else []
        if len(found) != 1:
            raise ToolLiedError(f"pgbackrest info ended with exit code 0 and says nothing of {self.stanza}")
        return dict(found[0])

    def _command(self, arguments: Sequence[str], timeout: float, *, secret: bool = False) -> Command:
        argv = [str(self.tool.path), f"--config={self.config}", f"--stanza={self.stanza}", *arguments]
        return Command(argv, timeout, secret=secret, user=self.user)


_ERRORS: Mapping[int, tuple[type[HomelabError], str, str]] = {
    49: (RepositoryUnreachableError, "{location} does not answer", "see whether its store is up"),
    50: (RepositoryLockedError, "the stanza is in use", "wait for the other pgbackrest to end"),
    51: (SourceError, "the stanza belongs to another cluster", "see the policy's `data`"),
    56: (PostgresError, "pgBackRest cannot connect to the cluster", "see the policy's `socket`, `port` and `user`"),
    58: (SourceError, "the cluster is not the one that the policy names", "see the policy's `data` and `socket`"),
    62: (RepositoryLockedError, "a person stopped pgBackRest", "run `pgbackrest start` when it may go on"),
    68: (SourceError, "WAL archiving is not as pgBackRest needs it", ""),
    82: (SourceError, "WAL does not reach the repository", "see the server's log: it says why archive_command fails"),
    87: (SourceError, "WAL archiving is off", ""),
    95: (RepositoryError, "{location} cannot be decrypted", "see the destination's password"),
    101: (RepositoryUnreachableError, "{location} does not answer", "see whether its store is up"),
}


def last_message(done: Completed) -> str:
    """pgBackRest's own words: its first error with its number, and the lines that say why."""
    text = done.stderr or done.stdout
    match = _ERROR.search(text)
    if match is None:
        return done.reason
    rest = [line.strip() for line in text[match.end() :].splitlines()]
    told = [match[1], *(line for line in rest if line and not line.startswith("HINT"))]
    return REDACTOR.clean("; ".join(told)[:600])


def _status(stanza: Mapping[str, Any]) -> tuple[int, str]:
    """Status of the one repository, which says more than the stanza's."""
    try:
        status = stanza["repo"][0]["status"]
        return int(status["code"]), str(status["message"])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ToolLiedError(f"pgbackrest info says nothing of the repository: {error!r}") from error


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text, strict=False)  # what a wrong password makes of a file is printed as it is
    except ValueError as error:
        raise ToolLiedError(f"pgbackrest {what} ended with exit code 0 and gave no JSON") from error
