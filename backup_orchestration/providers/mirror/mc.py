"""MinIO's `mc mirror` as the one that copies. Nothing that it says counts: what it made is compared, see `copying`.

It leaves keys out with exit code 0, and tells of objects as copied before it tries. Of use are its copies, and for a
person its first error.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backup_orchestration.core.commands import Command, failed, run
from backup_orchestration.core.errors import CommandTimeoutError, StoreError
from backup_orchestration.core.places import Bucket, answer_seconds
from backup_orchestration.core.private_files import private_directory
from backup_orchestration.core.secrets import Secrets
from backup_orchestration.core.tools import Requirement
from backup_orchestration.providers.mirror.layout import DATA
from backup_orchestration.stores.bucket import Reached

# Midnight Commander has the same name, and says another line. What was built from source says no date.
MC = Requirement("mc", (), ("--version",), r"(?s)\Amc version .*?(20\d\d-\d\d-\d\d|0000)")
_TRANSFER_SECONDS = 24 * 3600.0
_LONGEST_ERROR = 300


class McMirror:
    """`mc`, ready to copy one bucket into a snapshot's prefix.

    Args:
        source, destination: the bucket, and the prefix.
        start: only objects whose keys begin so; empty, or ends with a slash.
        secrets: resolves the keys of both.
        scratch: private directory.
        program: where it is.
    """

    def __init__(
        self, source: Reached, destination: Reached, start: str, secrets: Secrets, scratch: Path, program: Path
    ) -> None:
        self._program = program
        self._source, self._destination, self._start = source, destination, start
        self._secrets, self._scratch = secrets, scratch
        self._heard = time.monotonic()
        self._error = ""

    def copy(self, *, on_server: bool) -> str:
        """Let it copy; returns the first error that it told of, or nothing.

        Args:
            on_server: the destination's keys open the source as well, so that the server copies.

        Raises:
            CommandFailedError: it was killed, or did not end.
            StoreError: a store did not answer any more.
        """
        patience = min(self._source.place.patience, self._destination.place.patience)
        deadline = f"{answer_seconds(patience):.0f}s"
        with self._configuration() as directory:
            argv = (str(self._program), "--config-dir", str(directory), "--json", "--quiet", "--disable-pager",
                    f"--conn-read-deadline={deadline}", f"--conn-write-deadline={deadline}",
                    # Without --skip-errors the first key that it cannot write ends it.
                    "mirror", "--skip-errors", *self._buckets(on_server=on_server))  # fmt: skip
            self._heard = time.monotonic()
            try:
                done = run(
                    Command(argv, _TRANSFER_SECONDS), self._hear, hopeless=lambda: self._stores_are_away(patience)
                )
            except CommandTimeoutError as error:
                self._require_answers()
                raise error from None
        if done.returncode not in (0, 1):  # 1: something was not copied; what that is will be found out
            raise failed(done)
        return self._error or ("" if done.returncode == 0 else done.reason)

    def _buckets(self, *, on_server: bool) -> tuple[str, str]:
        there = self._destination
        source = f"{'destination' if on_server else 'source'}/{self._source.place.bucket}/{self._start}"
        return source, f"destination/{there.place.bucket}/{there.key(DATA)}{self._start}"

    @contextmanager
    def _configuration(self) -> Iterator[Path]:
        """Its directory: how both stores are reached, with their keys, and the authorities that it trusts besides."""
        directory = private_directory(self._scratch / "mc")
        places = {"source": self._source.place, "destination": self._destination.place}
        authorities = private_directory(directory / "certs" / "CAs")
        for name, place in places.items():
            if place.ca:
                (authorities / f"{name}.pem").write_bytes(place.ca.read_bytes())
        aliases = {name: self._alias(place) for name, place in places.items()}
        # Killed, we leave no keys: those files are swept.
        with self._secrets.temporary_file(json.dumps({"version": "10", "aliases": aliases})) as file:
            (directory / "config.json").symlink_to(file)
            yield directory

    def _alias(self, place: Bucket) -> dict[str, str]:
        keys = {"accessKey": "access_key", "secretKey": "secret_key"}
        resolved = {
            word: self._secrets.value(getattr(place, field), f"{place.name}.{field}") for word, field in keys.items()
        }
        return {"url": place.endpoint, **resolved, "api": "s3v4", "path": "on"}

    def _hear(self, line: str) -> None:
        self._heard = time.monotonic()
        if not self._error:
            self._error = _error_of(line)

    def _stores_are_away(self, patience: float) -> bool:
        """Whether it was silent for so long, as with large objects, and a store does not answer us either."""
        if time.monotonic() - self._heard < patience:
            return False
        try:
            self._require_answers()
        except (KeyError, StoreError):
            return True
        self._heard = time.monotonic()
        return False

    def _require_answers(self) -> None:
        for bucket, start in ((self._source, self._start), (self._destination, self._destination.key(""))):
            next(bucket.pages(start, "/"))


def _error_of(line: str) -> str:
    """What a line tells of an error; nothing of any other line."""
    try:
        told: Any = json.loads(line)
    except ValueError:
        return ""
    if not isinstance(told, dict) or told.get("status") != "error":
        return ""
    error = _part(told, "error")
    found = (error.get("message"), _part(error, "cause").get("message"))
    return " ".join(str(part) for part in found if part)[:_LONGEST_ERROR]


def _part(told: dict[str, Any], name: str) -> dict[str, Any]:
    found = told.get(name)
    return found if isinstance(found, dict) else {}
