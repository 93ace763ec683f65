"""Whether the store behind a restic still answers, by what restic says of it.

restic asks a store that fails for a quarter of an hour, for each thing it wants of it, and no option shortens that. It
tells of every attempt on stderr, so it can be stopped when one of them has failed for longer than somebody has
patience. A source or an upload that is only slow makes no such lines, and has all the time it wants.

A backup whose upload has failed for good, e.g. because the disk is full, ends with that. restic 0.18.0 sometimes does
not: it waits for itself for ever (seen 3 times in some 80, `errgroup.Wait` in `archiver.Snapshot`). It is stopped then.

Lines: restic's internal/global/global.go ("returned error, retrying after", "operation successful after", "failed").
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from threading import Lock

_FAILS = re.compile(r"(?P<what>\w+\(.*?\)) (?:returned error, retrying after [^:]+|(?P<for_good>failed)): (?P<why>.*)")
# How long restic has to end after an upload has failed for good; it takes a second.
_ENDS_SECONDS = 20.0
# The store has answered then.
_ABSENT = re.compile(r"does not exist|no such file or directory|not found|\b404\b")
_RECOVERS = re.compile(r"(?P<what>\w+\(.*?\)) operation successful after \d+ retries")


class StoreWatch:
    """Hears one restic's stderr.

    Args:
        patience: seconds that one operation may go on failing.
        tell: called once, with the reason of the first failure.
        clock: monotonic, in seconds.
    """

    def __init__(
        self, patience: float, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._patience = patience
        self._tell = tell
        self._clock = clock
        self._failing: dict[str, tuple[float, str]] = {}  # until when it may, and why it does
        self._told = False
        self._lock = Lock()

    def hear(self, line: str) -> None:
        """A line of stderr."""
        failure = _FAILS.search(line)
        if failure and not _ABSENT.search(failure["why"]):
            lost = failure["for_good"] and failure["what"].startswith("Save(")
            limit = self._clock() + (min(self._patience, _ENDS_SECONDS) if lost else self._patience)
            with self._lock:
                until, _ = self._failing.get(failure["what"], (limit, ""))
                self._failing[failure["what"]] = (min(until, limit), failure["why"])
                first, self._told = not self._told, True
            if first:
                self._tell(failure["why"])
        elif recovery := _RECOVERS.search(line):
            with self._lock:
                self._failing.pop(recovery["what"], None)

    def hopeless(self) -> bool:
        """Whether something has failed for too long."""
        with self._lock:
            return any(self._clock() >= until for until, _ in self._failing.values())

    @property
    def reason(self) -> str:
        """Why what still fails does, the longest first; empty when the store answers."""
        with self._lock:
            return next((why for _, why in self._failing.values()), "")
