"""Evidence: what restore tests found, and what became of snapshots besides. `evidence_store` keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from backup_orchestration.core.frozen import Frozen


class ProbeResult(Frozen):
    """What one probe found."""

    name: str
    passed: bool
    summary: str
    counts: Mapping[str, int] = Field(default_factory=dict)
    seconds: float = 0.0


class Link(Frozen):
    """What a record says of the one before it.

    Attributes:
        snapshot_key: empty of a note that takes no pass away.
        passed: False also of a note that takes one away: losing it must not give the pass back.
    """

    sequence: int
    mac: str
    snapshot_key: str
    passed: bool


class Evidence(Frozen):
    """The record of one restore test.

    Attributes:
        sequence: 1 for the first restore test of this target and destination, then up by one.
        previous: of the record before; None for the first.
        repository_id: binds it to the repository as it was made; a re-created one has another.
        taken_at: of the snapshot: the moment the data is as of.
        at: the moment after `taken_at` that was restored to; None for the snapshot itself. A pass of such a test
            proves nothing about the snapshot as it was taken: see `core.status`.
        passed: every probe passed.
        reason: empty, or `<probe>: <why>`.
        counts: what came back, e.g. files and bytes.
        size_bytes: of the snapshot, as it was listed then; None in records of before there was this field.
        bytes_read: read from the repository and checked, whole files.
    """

    version: int = 1
    sequence: int = 0
    previous: Link | None = None
    target: str
    destination: str
    provider: str
    repository: str
    repository_id: str
    snapshot_id: str
    snapshot_key: str
    taken_at: datetime
    at: datetime | None = None
    run_id: str
    started_at: datetime
    finished_at: datetime
    passed: bool
    reason: str = ""
    probes: tuple[ProbeResult, ...] = ()
    counts: Mapping[str, int] = Field(default_factory=dict)
    size_bytes: int | None = None
    restore_seconds: float = 0.0
    bytes_read: int = 0
    versions: Mapping[str, str] = Field(default_factory=dict)
    host: str = ""

    def as_link(self, mac: str) -> Link:
        """What the next record says of this one."""
        return Link(sequence=self.sequence, mac=mac, snapshot_key=self.snapshot_key, passed=self.passed)


class What(StrEnum):
    """What a note says of snapshots."""

    VANISHED = "vanished"
    CHANGED = "changed"
    REMOVED = "removed"


class Note(Frozen):
    """What became of snapshots besides restore tests.

    Attributes:
        what: `vanished`, they are no longer in the repository, and nobody here removed them; `changed`, what stands
            under the key is not what was tested; both take a pass of before away. `removed`: retention is about to
            remove them.
        snapshot_keys: which; one of them where a pass is taken away.
        at: when it was found or begun.
        reason: for people.
    """

    note: int = 1
    sequence: int = 0
    previous: Link | None = None
    target: str
    destination: str
    what: What
    snapshot_keys: tuple[str, ...]
    at: datetime
    run_id: str = ""
    reason: str = ""

    def as_link(self, mac: str) -> Link:
        """What the next record says of this one."""
        voids = self.what is not What.REMOVED
        key = self.snapshot_keys[0] if voids else ""
        return Link(sequence=self.sequence, mac=mac, snapshot_key=key, passed=not voids)


class Lost(Frozen):
    """A record that should be there and is not, or is not authentic.

    Attributes:
        sequence: its number.
        snapshot_key, passed: what its successor says of it; None where nobody knows.
    """

    sequence: int
    snapshot_key: str | None = None
    passed: bool | None = None


class Ledger(Frozen):
    """All authentic evidence of one target and destination, oldest first, and what is wrong with the rest.

    Attributes:
        records: of restore tests.
        notes: of what became of snapshots besides.
    """

    records: tuple[Evidence, ...] = ()
    notes: tuple[Note, ...] = ()
    lost: tuple[Lost, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def last_tests(self) -> Mapping[str, Evidence]:
        """The last record of each snapshot that was tested, by key."""
        return {record.snapshot_key: record for record in self.records}

    @property
    def last_notes(self) -> Mapping[str, Note]:
        """Of each snapshot by key the last note, unless a restore test came after it."""
        tested = self.last_tests
        found = {key: note for note in self.notes for key in note.snapshot_keys}
        return {key: note for key, note in found.items() if key not in tested or tested[key].sequence < note.sequence}
