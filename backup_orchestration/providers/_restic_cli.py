"""Calls of restic 0.17.1 and newer: arguments, exit codes, JSON. What they are for is `restic.py`.

Exit codes: restic's doc/075_scripting.rst.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backup_orchestration.core.commands import Command, Completed, failed, run
from backup_orchestration.core.errors import (
    HomelabError,
    RepositoryLockedError,
    RepositoryMissingError,
    RepositoryUnreachableError,
    SpaceError,
    ToolLiedError,
    WrongPasswordError,
)
from backup_orchestration.core.redaction import REDACTOR
from backup_orchestration.core.tools import Requirement, Tool

RESTIC = Requirement("restic", (0, 17, 1), ("version",), r"restic (\d+\.\d+\.\d+)")
INCOMPLETE = 3

_MISSING, _LOCKED, _WRONG_PASSWORD = 10, 11, 12
_MEANINGS = {
    1: "fatal error",
    2: "restic itself failed",
    INCOMPLETE: "some of the source could not be read",
    _MISSING: "no repository",
    _LOCKED: "repository locked",
    _WRONG_PASSWORD: "wrong password",
    130: "interrupted",
}
_STYLING = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # restic clears its line before it says why it ends
_QUERY_SECONDS = 300.0
_TRANSFER_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class ResticCli:
    """One repository, as restic is called on it.

    Attributes:
        tool: the binary.
        repository: what restic opens; never holds credentials.
        password_file: read by restic itself.
        cache: its cache directory; None reads everything from the repository.
        access: environment that names the files by which a bucket is opened; empty for a directory.
    """

    tool: Tool
    repository: str
    password_file: Path
    cache: Path | None
    access: Mapping[str, str] = field(default_factory=dict)

    def config_id(self) -> str:
        """The id the repository was given when it was made.

        Raises:
            RepositoryMissingError, WrongPasswordError, RepositoryLockedError, RepositoryUnreachableError,
            ToolLiedError: exit code 0 and no configuration.
        """
        done = self.look("cat", "config")
        identity = _object(done.stdout, "cat config").get("id")
        if not isinstance(identity, str) or len(identity) != 64:
            raise ToolLiedError("restic cat config ended with exit code 0 and gave no repository id")
        return identity

    def init(self) -> str:
        """Make the repository; returns its id, as read back from it."""
        self.query("init", "--json")
        try:
            return self.config_id()
        except RepositoryMissingError as error:
            raise ToolLiedError(f"restic init ended with exit code 0 and made no repository: {error}") from error

    def snapshots(self, *tags: str) -> list[dict[str, Any]]:
        """What `snapshots --json` lists with all of these tags."""
        done = self.look("snapshots", "--json", "--tag", ",".join(tags))
        listed = _json(done.stdout, "snapshots")
        if not isinstance(listed, list):
            raise ToolLiedError("restic snapshots ended with exit code 0 and gave no list")
        return listed

    def lock(self, identity: str) -> Mapping[str, Any]:
        """What a lock says: `time`, `exclusive`, `hostname`, `username`, `pid`.

        Raises:
            CommandFailedError: it is not there, or cannot be read.
            ToolLiedError: exit code 0 and no lock.
        """
        lock = _object(self.look("cat", "lock", identity).stdout, "cat lock")
        if not {"time", "hostname", "pid"} <= lock.keys():
            raise ToolLiedError("restic cat lock ended with exit code 0 and gave no lock")
        return lock

    def backup(
        self, arguments: Sequence[str], on_status: Callable[[Mapping[str, Any]], None]
    ) -> tuple[Completed, Mapping[str, Any] | None]:
        """Run a backup; returns how it ended, and its summary if it gave one. Does not judge the exit code."""
        return self._transfer("backup", arguments, on_status)

    def restore(
        self, arguments: Sequence[str], on_status: Callable[[Mapping[str, Any]], None]
    ) -> tuple[Completed, Mapping[str, Any] | None]:
        """Run a restore; as `backup`."""
        return self._transfer("restore", arguments, on_status)

    def look(self, *arguments: str) -> Completed:
        """As `query`, of a call that only reads: without a lock, so that it works on a full or read-only store."""
        return self.query("--no-lock", *arguments)

    def query(self, *arguments: str) -> Completed:
        """Run a short call and insist on exit code 0."""
        done = run(self._command(arguments, _QUERY_SECONDS))
        if done.returncode != 0:
            raise self.error(done)
        return done

    def error(self, done: Completed) -> HomelabError:
        """What an exit code other than 0 means."""
        why = last_message(done)
        known = {
            _MISSING: RepositoryMissingError(f"there is no repository at {self.repository}"),
            _WRONG_PASSWORD: WrongPasswordError(
                f"the password does not open the repository {self.repository}",
                remedy="see where the settings take the destination's password from",
            ),
            _LOCKED: RepositoryLockedError(
                f"{self.repository} is locked: {why}",
                remedy="wait: a lock whose holder is dead goes within half an hour",
            ),
        }
        if done.returncode in known:
            return known[done.returncode]
        if is_full(done):
            return SpaceError(f"{self.repository} is full", remedy="free room there, or move it to a larger disk")
        if "permission denied" in why or "connection refused" in why:
            return RepositoryUnreachableError(f"{self.repository} cannot be used: {why}")
        return failed(Completed(done.name, done.returncode, "", why), _MEANINGS)

    def _transfer(
        self, verb: str, arguments: Sequence[str], on_status: Callable[[Mapping[str, Any]], None]
    ) -> tuple[Completed, Mapping[str, Any] | None]:
        summaries: list[Mapping[str, Any]] = []

        def handle(line: str) -> None:
            message = _message(line)
            if message.get("message_type") == "summary":
                summaries.append(message)
            elif message.get("message_type") == "status":
                on_status(message)

        command = self._command((verb, "--json", *arguments), _TRANSFER_SECONDS)
        return run(command, on_stdout=handle), summaries[-1] if summaries else None

    def _command(self, arguments: Sequence[str], timeout: float) -> Command:
        env = {
            "RESTIC_REPOSITORY": self.repository,
            "RESTIC_PASSWORD_FILE": str(self.password_file),
            "RESTIC_PROGRESS_FPS": "1",
            **self.access,
        }
        argv = [str(self.tool.path)]
        if self.cache is None:
            argv.append("--no-cache")
        else:
            env["RESTIC_CACHE_DIR"] = str(self.cache)
        return Command([*argv, *arguments], timeout, env)


def last_message(done: Completed) -> str:
    """restic's own last words: JSON on stderr since 0.18 (`exit_error`), plain text before."""
    texts = []
    for line in _STYLING.sub("", done.stderr).splitlines():
        message = _message(line)
        error = message.get("error")
        text = message.get("message") or (error.get("message") if isinstance(error, dict) else None)
        texts.append(f"{message['item']}: {text}" if text and message.get("item") else text or line)
    lines = [text.strip() for text in texts if isinstance(text, str) and text.strip()]
    return REDACTOR.clean("; ".join(lines[-3:])[:600]) if lines else f"exit code {done.returncode}"


def is_full(done: Completed) -> bool:
    """Whether restic spoke of a disk that is full; it may have found more errors after that."""
    return "no space left on device" in done.stderr or "disk quota exceeded" in done.stderr


def _message(line: str) -> dict[str, Any]:
    """One line of JSON output; a line that is none is empty: restic mixes plain text in."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _object(text: str, what: str) -> dict[str, Any]:
    value = _json(text, what)
    if not isinstance(value, dict):
        raise ToolLiedError(f"restic {what} ended with exit code 0 and gave no object")
    return value


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ToolLiedError(f"restic {what} ended with exit code 0 and gave no JSON") from error
