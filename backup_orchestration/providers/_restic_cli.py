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

from backup_orchestration.core.commands import Command, Completed, LineHandler, failed, run
from backup_orchestration.core.errors import (
    CommandFailedError,
    CommandTimeoutError,
    HomelabError,
    RepositoryLockedError,
    RepositoryMissingError,
    RepositoryUnreachableError,
    ToolLiedError,
    WrongPasswordError,
)
from backup_orchestration.core.places import PATIENCE_SECONDS, answer_seconds
from backup_orchestration.core.progress import Progress, Update, silent
from backup_orchestration.core.redaction import REDACTOR
from backup_orchestration.core.tools import Requirement, Tool
from backup_orchestration.providers._restic_store import StoreWatch
from backup_orchestration.providers.capture import full_disk

RESTIC = Requirement("restic", (0, 17, 1), ("version",), r"restic (\d+\.\d+\.\d+)")
INCOMPLETE = 3

_FATAL = 1
_MISSING, _LOCKED, _WRONG_PASSWORD = 10, 11, 12
_MEANINGS = {
    _FATAL: "fatal error",
    2: "restic itself failed",
    INCOMPLETE: "some of the source could not be read",
    _MISSING: "no repository",
    _LOCKED: "repository locked",
    _WRONG_PASSWORD: "wrong password",
    130: "interrupted",
}
_TOLD_TO_STOP = re.compile(r"signal \w+ received, cleaning up")
_STYLING = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # restic clears its line before it says why it ends
# For what reads the configuration or snapshot files and no data. Each is one file, made and removed whole, so a lock
# would guard nothing; it costs a fifth of a second (restic looks at it again), and writes to what is only looked at.
_NO_LOCK = "--no-lock"
_QUERY_SECONDS = 300.0
_READERS_MINUTES = 10  # most restore tests have ended by then
_TRANSFER_SECONDS = 24 * 3600.0
_GRACE_SECONDS = 30.0  # restic takes its lock away on SIGTERM, and tries that for a minute on a store that fails


@dataclass(frozen=True)
class ResticCli:
    """One repository, as restic is called on it.

    Attributes:
        tool: the binary.
        repository: what restic opens; never holds credentials.
        password_file: read by restic itself.
        cache: its cache directory; None reads everything from the repository.
        access: environment that names the files by which a bucket is opened; empty for a directory.
        called: the repository's name in messages; default: as it is opened.
        patience: seconds that its store may fail for before a call is given up; None leaves that to restic.
        progress: told when the store fails.
    """

    tool: Tool
    repository: str
    password_file: Path
    cache: Path | None
    access: Mapping[str, str] = field(default_factory=dict)
    called: str = ""
    patience: float | None = PATIENCE_SECONDS
    progress: Progress = silent

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
        """What `snapshots --json` lists with all of these tags; without one, all."""
        done = self.look("snapshots", "--json", *(("--tag", ",".join(tags)) if tags else ()))
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

    def maintain(self, *arguments: str) -> None:
        """Run a call that wants the repository to itself, and insist on exit code 0; it waits a while for readers."""
        done = self._run((f"--retry-lock={_READERS_MINUTES}m", *arguments), _TRANSFER_SECONDS)
        if done.returncode != 0:
            raise self.error(done)

    def look(self, *arguments: str) -> Completed:
        """As `query`, of a call that only reads: without a lock, so that it works on a full or read-only store."""
        return self.query(_NO_LOCK, *arguments)

    def query(self, *arguments: str) -> Completed:
        """Run a short call and insist on exit code 0."""
        done = self._run(arguments, _QUERY_SECONDS)
        if done.returncode != 0:
            raise self.error(done)
        return done

    def error(self, done: Completed) -> HomelabError:
        """What an exit code other than 0 means."""
        why = last_message(done)
        known = {
            _MISSING: RepositoryMissingError(f"there is no repository at {self._name}"),
            _WRONG_PASSWORD: WrongPasswordError(
                f"the password does not open the repository {self._name}",
                remedy="see where the settings take the destination's password from",
            ),
            _LOCKED: RepositoryLockedError(
                f"{self._name} is locked: {why}", remedy="wait: a lock whose holder is dead goes within half an hour"
            ),
        }
        if done.returncode in known:
            return known[done.returncode]
        if is_full(done):
            return full_disk(self._name)
        if "permission denied" in why or "connection refused" in why:
            return self._store_fails(why)
        told = failed(Completed(done.name, done.returncode, "", why), _MEANINGS)
        return CommandFailedError(f"{told.message}; repository {self._name}")

    @property
    def _name(self) -> str:
        return self.called or self.repository

    def _store_fails(self, why: str) -> HomelabError:
        if tells_of_full_disk(why):
            return full_disk(self._name)
        return RepositoryUnreachableError(
            f"{self._name} cannot be used: {why}", remedy="see whether its store answers, then run it again"
        )

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

        done = self._run((verb, "--json", *arguments), _TRANSFER_SECONDS, handle)
        return done, summaries[-1] if summaries else None

    def _run(self, arguments: Sequence[str], timeout: float, on_stdout: LineHandler | None = None) -> Completed:
        """Run restic to its end, or until its store has failed for too long.

        Raises:
            RepositoryUnreachableError: its store is why it failed.
        """
        command = self._command(arguments, timeout)
        if self.patience is None:
            return run(command, on_stdout)
        watch = StoreWatch(self.patience, self._tell)
        try:
            done = run(command, on_stdout, watch.hear, watch.hopeless)
        except CommandTimeoutError as error:
            if not watch.reason:
                raise
            raise self._store_fails(watch.reason) from error
        if done.returncode == _FATAL and watch.reason and not is_full(done):
            raise self._store_fails(watch.reason)
        return done

    def _tell(self, why: str) -> None:
        self.progress(Update("waiting", message=f"{self._name} fails, and is asked again: {why}"))

    def _command(self, arguments: Sequence[str], timeout: float) -> Command:
        env = {
            "RESTIC_REPOSITORY": self.repository,
            "RESTIC_PASSWORD_FILE": str(self.password_file),
            "RESTIC_PROGRESS_FPS": "1",
            **self.access,
        }
        argv = [str(self.tool.path)]
        grace = _GRACE_SECONDS
        if self.patience is not None:
            # One attempt for each of restic's own: the S3 library would try ten times before restic tells of it.
            argv += [f"--stuck-request-timeout={answer_seconds(self.patience):g}s", "--option=s3.retries=1"]
            grace = min(grace, self.patience)
        if self.cache is None:
            argv.append("--no-cache")
        else:
            env["RESTIC_CACHE_DIR"] = str(self.cache)
        return Command([*argv, *arguments], timeout, env, grace=grace)


def last_message(done: Completed) -> str:
    """restic's own last words: JSON on stderr since 0.18 (`exit_error`), plain text before."""
    texts = []
    for line in _STYLING.sub("", done.stderr).splitlines():
        message = _message(line)
        error = message.get("error")
        text = message.get("message") or (error.get("message") if isinstance(error, dict) else None)
        texts.append(f"{message['item']}: {text}" if text and message.get("item") else text or line)
    lines = [text.strip() for text in texts if isinstance(text, str) and text.strip()]
    # What prints a dump has said why before restic says that it could not store it.
    printed = [line.partition(": ")[2] for line in lines if line.startswith("subprocess ")]
    return REDACTOR.clean("; ".join(printed[:3] or lines[-3:])[:600]) if lines else f"exit code {done.returncode}"


def is_interrupted(done: Completed) -> bool:
    """Whether restic was told to stop. What it had begun then counts as errors, and the exit code may be 1."""
    return _TOLD_TO_STOP.search(done.stderr) is not None


def is_full(done: Completed) -> bool:
    """Whether restic spoke of a disk that is full; it may have found more errors after that."""
    return tells_of_full_disk(done.stderr)


def tells_of_full_disk(text: str) -> bool:
    """Whether a text holds the system's words for it."""
    return "no space left on device" in text or "disk quota exceeded" in text


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
