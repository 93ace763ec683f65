"""Keeps evidence: the append-only, authenticated record of restore tests, and of what became of snapshots besides.

One file a restore test or a note, `<service>/<name>/<destination>/<sequence>.evidence`: a line of JSON, a line
with its HMAC-SHA256. Each record carries what the one before it said, and `head.evidence` what the last one
said, so that an edited, re-dated, renamed, copied or deleted record is seen, and of a deleted one it is
known which snapshot it was about. Whoever can write to the store can still set it back whole to an earlier
state: THREAT_MODEL.md says what that means.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from backup_orchestration.core.errors import EvidenceError
from backup_orchestration.core.evidence import Evidence, Ledger, Link, Lost, Note
from backup_orchestration.core.objects import Objects

_PURPOSE = b"homelab evidence 1\n"
_SUFFIX = ".evidence"

_Record = Evidence | Note
_RECORD: TypeAdapter[_Record] = TypeAdapter(_Record)
_AnyRecord = TypeVar("_AnyRecord", Evidence, Note)


class EvidenceStore:
    """Reads and appends evidence.

    Args:
        objects: where it is kept.
        key: what authenticates it; the repositories' store must not hold it.
        remember: keep records that were found authentic, for somebody who asks again and again; what is edited
            later is then seen by others first, what is deleted is seen all the same.
    """

    def __init__(self, objects: Objects, key: str, *, remember: bool = False) -> None:
        self._objects = objects
        self._remembered: dict[str, tuple[_Record, str]] | None = {} if remember else None
        self._key = hashlib.sha256(_PURPOSE + key.encode()).digest()

    def append(self, evidence: Evidence) -> Evidence:
        """Add a record; the caller holds the target's evidence lock. Returns it with its place in the chain.

        Raises:
            EvidenceError: the store refuses, or the read-back differs.
        """
        return self._append([evidence])[0]

    def note(self, notes: Sequence[Note]) -> None:
        """Add notes of one target and destination; as `append`."""
        if notes:
            self._append(notes)

    def _append(self, records: Sequence[_AnyRecord]) -> list[_AnyRecord]:
        target, destination = records[0].target, records[0].destination
        prefix = _prefix(target, destination)
        taken = {number for name in self._objects.names(prefix) if (number := _number(name)) is not None}
        last = self._last(prefix, taken, target, destination)
        appended = []
        for record in records:
            number = last.sequence + 1 if last else 1
            while number in taken:  # a forged file is not overwritten: its number stays lost
                number += 1
            placed = record.model_copy(update={"sequence": number, "previous": last})
            name = f"{prefix}/{number:08d}{_SUFFIX}"
            sealed = self._seal(placed.model_dump_json())
            self._objects.write(name, sealed)
            if self._objects.read(name) != sealed:
                raise EvidenceError(f"{name}: the store does not give back what was written")
            last = placed.as_link(_mac_of(sealed))
            self._objects.write(f"{prefix}/head{_SUFFIX}", self._seal(last.model_dump_json(), prefix))
            appended.append(placed)
        return appended

    def ledger(self, target: str, destination: str) -> Ledger:
        """Everything authentic about a target in one destination.

        Raises:
            EvidenceError: the store cannot be read. A record that cannot be trusted is a problem, not an error.
        """
        prefix = _prefix(target, destination)
        valid: dict[int, tuple[_Record, str]] = {}
        refused: dict[int, str] = {}
        names = self._objects.names(prefix)
        for name in names:
            number = _number(name)
            if number is None:
                continue
            try:
                valid[number] = self._record(name, number, target, destination)
            except (KeyError, ValueError) as error:
                refused[number] = f"evidence {number:08d} counts as none: {_why(error)}"
        head = self._head(prefix)
        lost = _lost(valid, refused, head)
        problems = [refused.get(item.sequence) or _describe(item) for item in lost]
        if names and head is None:
            problems.append("evidence: the head record is missing or not authentic")
        gone = {item.sequence for item in lost}
        found = [valid[number][0] for number in sorted(valid) if number not in gone]
        return Ledger(
            records=tuple(record for record in found if isinstance(record, Evidence)),
            notes=tuple(record for record in found if isinstance(record, Note)),
            lost=tuple(lost),
            problems=tuple(problems),
        )

    def _last(self, prefix: str, numbers: Collection[int], target: str, destination: str) -> Link | None:
        """The end of the chain: the highest authentic record, or the head where that is further."""
        head = self._head(prefix)
        for number in sorted(numbers, reverse=True):
            if head and head.sequence >= number:
                break
            try:
                record, mac = self._record(f"{prefix}/{number:08d}{_SUFFIX}", number, target, destination)
            except (KeyError, ValueError):
                continue
            return record.as_link(mac)
        return head

    def _record(self, name: str, number: int, target: str, destination: str) -> tuple[_Record, str]:
        if self._remembered is not None and name in self._remembered:
            return self._remembered[name]
        sealed = self._objects.read(name)
        record = _RECORD.validate_json(self._unseal(sealed))
        if (record.target, record.destination) != (target, destination):
            raise ValueError(f"it was written for {record.target} in {record.destination}")
        if record.sequence != number:
            raise ValueError(f"it was written as number {record.sequence}, for {_about(record)}")
        if self._remembered is not None:
            self._remembered[name] = record, _mac_of(sealed)
        return record, _mac_of(sealed)

    def _head(self, prefix: str) -> Link | None:
        """What the head says, if it is there, authentic, and of this target."""
        try:
            return Link.model_validate_json(self._unseal(self._objects.read(f"{prefix}/head{_SUFFIX}"), prefix))
        except (KeyError, ValueError):
            return None

    def _seal(self, text: str, context: str = "") -> bytes:
        body = text.encode()
        return body + b"\n" + self._mac(body, context) + b"\n"

    def _mac(self, body: bytes, context: str) -> bytes:
        return hmac.new(self._key, context.encode() + b"\n" + body, "sha256").hexdigest().encode()

    def _unseal(self, sealed: bytes, context: str = "") -> bytes:
        body, _, mac = sealed.rstrip(b"\n").rpartition(b"\n")
        if not hmac.compare_digest(self._mac(body, context), mac):
            raise ValueError("its authentication does not match: edited, or written with another key")
        return body


def _prefix(target: str, destination: str) -> str:
    return f"{target}/{destination}"


def _mac_of(sealed: bytes) -> str:
    return sealed.rstrip(b"\n").rpartition(b"\n")[2].decode("ascii", "replace")


def _number(name: str) -> int | None:
    """`7` for `.../00000007.evidence`; None for anything else, such as the head."""
    stem = name.rpartition("/")[2].removesuffix(_SUFFIX)
    number = int(stem) if stem.isascii() and stem.isdigit() else 0
    return number if number and name.endswith(f"/{number:08d}{_SUFFIX}") else None


def _lost(valid: Mapping[int, tuple[_Record, str]], refused: Collection[int], head: Link | None) -> list[Lost]:
    """Numbers that the chain speaks of and that are not there as they were written."""
    links = [record.previous for record, _ in valid.values() if record.previous]
    links += [head] if head else []
    told = {link.sequence: link for link in links}
    highest = max([*valid, *told], default=0)
    lost = []
    # What nobody authentic speaks of is lost only where a file is: its name may say any number.
    for number in sorted({*range(1, highest + 1), *refused}):
        link = told.get(number)
        if number in valid and (link is None or hmac.compare_digest(valid[number][1], link.mac)):
            continue
        lost.append(
            Lost(
                sequence=number,
                snapshot_key=link.snapshot_key if link else None,
                passed=link.passed if link else None,
            )
        )
    return lost


def _about(record: _Record) -> str:
    return record.snapshot_key if isinstance(record, Evidence) else ", ".join(record.snapshot_keys)


def _describe(item: Lost) -> str:
    about = f", which {'passed' if item.passed else 'failed'} {item.snapshot_key}" if item.snapshot_key else ""
    return f"evidence {item.sequence:08d}{about}, is missing: deleted or lost"


def _why(error: Exception) -> str:
    return "it is not a record of this version" if isinstance(error, ValidationError) else str(error)
