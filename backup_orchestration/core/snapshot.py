"""One completed backup in one repository."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

# A snapshot from further ahead than this comes from a wrong clock: it is no recovery point, and no count counts it.
CLOCK_TOLERANCE = timedelta(minutes=10)

KEY_PATTERN = re.compile(r"\d{8}T\d{6}Z-[0-9A-Za-z_.-]{4,64}")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A completed backup, as its repository lists it.

    Attributes:
        target: `<service>/<name>`.
        provider: name of the provider that took it.
        repository: where the repository is, without credentials.
        repository_id: the id that the tool gave the repository when it was made.
        snapshot_id: the tool's own, full id.
        taken_at: start of the capture, UTC: the moment the data is as of.
        size_bytes: size of the data before compression and deduplication.
        counts: what was counted at backup time, e.g. `{"files": 12}`.
        paths: where the provider stored the data inside the snapshot.
        run_id: id of the run that made it; the read-back looks for it.
        finished_at: end of the capture, where the tool stores it.
        description: of the policy, at backup time.
        needs: ids of the snapshots that it builds on and cannot be restored without.
    """

    target: str
    provider: str
    repository: str
    repository_id: str
    snapshot_id: str
    taken_at: datetime
    size_bytes: int
    counts: Mapping[str, int] = field(default_factory=dict)
    paths: tuple[str, ...] = ()
    run_id: str = ""
    finished_at: datetime | None = None
    description: str = ""
    needs: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Snapshot key: sorts by time and names the Dagster partition."""
        return snapshot_key(self.taken_at, self.snapshot_id)


def snapshot_key(taken_at: datetime, snapshot_id: str) -> str:
    """Key of a snapshot, e.g. `20261123T020003Z-44e3a3c7`.

    Args:
        taken_at: start of the capture; any time zone, never naive.
        snapshot_id: the tool's id; of what stands behind its last dash, the first eight characters are used. Where a
            tool writes dates into ids, e.g. `20261123-020003F`, what is in front of the dash is shared by a whole day.
    """
    return f"{taken_at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{snapshot_id.rpartition('-')[2][:8]}"


def rfc3339(moment: datetime | None) -> str | None:
    """A moment as every output writes it: RFC 3339, UTC, whole seconds; None stays None."""
    return None if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
