"""Meilisearch: a dump by its API, with the documents of each index counted before and after it."""

from __future__ import annotations

import sys
from pathlib import Path

from backup_orchestration.core.policy import BackupPolicy, Probe, RestoreTest
from backup_orchestration.core.sources import Export


class Meilisearch:
    """One Meilisearch.

    Args:
        url: where it answers.
        dumps: absolute path of its dump directory, as this host sees it.
        key_file: file with an API key that may dump and read statistics; None if it runs without keys.
        destination: name of a destination.
        stand_in: it is not a real Meilisearch.
    """

    def __init__(
        self,
        url: str,
        dumps: Path,
        *,
        key_file: Path | None = None,
        destination: str = "default",
        stand_in: bool = False,
    ) -> None:
        self._url = url
        self._dumps = dumps
        self._key_file = key_file
        self._destination = destination
        self._stand_in = stand_in

    def policies(self) -> list[BackupPolicy]:
        """`meilisearch/dump`."""
        module = "backup_orchestration.contributors.meilisearch_export"
        key = ("--key-file", str(self._key_file)) if self._key_file else ()
        return [
            BackupPolicy(
                target="meilisearch/dump",
                description="a dump, which any later version imports",
                source=Export(command=(sys.executable, "-m", module, self._url, str(self._dumps), *key)),
                destination=self._destination,
                cron="45 3 * * *",
                restore_test=RestoreTest(probes=(Probe(name="documents"),)),
                stand_in=self._stand_in,
            )
        ]
